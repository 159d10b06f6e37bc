"""DICOM for MONAI's own pipelines: a series becomes one volume, by the same rules as everywhere in this package."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from anomalyclip_med.data.budget import check_size
from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.data.dicom_header import is_dicom
from anomalyclip_med.data.discovery import find_scans
from anomalyclip_med.errors import ScanError

PathLike = str | Path


class DicomReader(ImageReader):
    """Reads one DICOM series or multi-frame object, for ``LoadImage(reader=DicomReader())`` and ``LoadImaged``.

    The array is (X, Y, Z) float32 in rescaled units (HU for CT), with time points or RGB as a last, channel axis; the
    affine maps voxels to RAS millimetres. MONAI's own DICOM readers mix series, trust InstanceNumber, or lose gantry
    tilt and damaged slices without a word; this one raises or warns. What is doubtful about the series is issued as
    Python warnings and stands under ``warnings`` in the metadata.

    ``LoadImage`` tries its other readers when `read` raises, so here only `get_data` does: it is never replaced.

    Args:
        series: which series is meant where a folder has several, as the error that lists them calls it: the first
            16 hexadecimal digits of the SHA-256 of SeriesInstanceUID, and "_2" for a second geometry in it.

    Examples:
        >>> from monai.transforms import LoadImage
        >>> from pydicom.data import get_testdata_file
        >>> file = get_testdata_file("CT_small.dcm", download=False)  # or the folder of a series
        >>> volume = LoadImage(reader=DicomReader(), ensure_channel_first=True)(file)
        >>> tuple(volume.shape), volume.min().item(), volume.meta["modality"]
        ((1, 128, 128, 1), -896.0, 'CT')
    """

    def __init__(self, series: str | None = None) -> None:
        super().__init__()
        self.series = series

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Return whether all are folders or DICOM files, told by their content."""
        paths = [Path(name) for name in ensure_tuple(filename)]
        return all(path.is_dir() or (path.is_file() and is_dicom(path)) for path in paths)

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[Path, ...]:
        """Return the files and folders, which together hold one series; `get_data` opens them.

        Args:
            data: a folder, a file, or files.
            kwargs: not used.
        """
        return tuple(Path(name) for name in ensure_tuple(data))

    def get_data(self, img: tuple[Path, ...]) -> tuple[np.ndarray, dict[str, Any]]:
        """Read the volume.

        Args:
            img: what `read` returned.

        Returns:
            The array, float32 or, for RGB, uint8; and the metadata: ``affine``, ``original_affine`` (4, 4),
            ``spatial_shape``, ``space``, ``original_channel_dim``, ``modality``, ``series`` and ``warnings``.

        Raises:
            ScanError: there is no series, or more than one and no choice, or a file or slice cannot be read.
        """
        scan = self._choose(img)
        shape = (*scan.shape, 3) if scan.color else scan.shape
        dtype = np.dtype(np.uint8 if scan.color else np.float32)
        check_size(scan.source, int(np.prod(shape)) * dtype.itemsize // len(scan.slices), len(scan.slices))
        volume = np.empty(shape, dtype=dtype)
        for index in range(len(scan.slices)):
            scan.slice_view(volume, index)[...] = scan.read_slice(index)
        for warning in scan.warnings:
            warnings.warn(f"{scan.source}: {warning}", stacklevel=2)
        return volume, {
            MetaKeys.AFFINE: scan.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: scan.affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(scan.shape[:3]),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if len(shape) > 3 else float("nan"),
            "modality": scan.modality,
            "series": scan.series,
            "warnings": "; ".join(scan.warnings),
        }

    def _choose(self, paths: tuple[Path, ...]) -> DicomScan:
        found, skipped = find_scans(paths)
        # A file that is damaged may be a slice of the series: a volume without it would be a wrong one.
        for file in skipped:
            if file.unreadable:
                raise ScanError(f"{file.path}: {file.reason}; mend it or take it out of what is read")
        scans = [scan for scan in found if isinstance(scan, DicomScan)]
        where = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        listed = "; ".join(f"{s.series} ({s.modality or 'OT'}, {' x '.join(map(str, s.shape))})" for s in scans)
        if not scans:
            raise ScanError(f"{where}: no DICOM series, give a folder or files of one")
        if self.series is None:
            if len(scans) > 1:
                raise ScanError(f"{where}: {len(scans)} DICOM series, choose one with series=: {listed}")
            return scans[0]
        for scan in scans:
            if scan.series == self.series:
                return scan
        raise ScanError(f"{where}: no series {self.series}, there are: {listed}")
