"""Anomaly maps as NIfTI on the scan's own grid."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from types import TracebackType

import nibabel as nib
import numpy as np

from anomalyclip_med.data import Scan
from anomalyclip_med.data.reading import reading


class MapFile:
    """A map that is stored with the scan's shape and affine while it comes into being; a context manager.

    Compressing a long series takes seconds: done slice by slice, it goes on beside the model. Viewers open the file
    with the fixed scale [0, 1].

    Args:
        path: ``.nii.gz``.
        anomaly_map: of ``scan.shape``, float32 in [0, 1], NaN where a slice was not scored; filled by the caller.
        scan: whose geometry the map has. Of a NIfTI scan the qform, the sform and their codes are copied.
        description: at most 79 characters, put into the header.

    Raises:
        OSError: the file cannot be written.
        ScanError: the scan's own header cannot be read any more.
        ValueError: the format cannot hold the grid.
    """

    def __init__(self, path: Path, anomaly_map: np.ndarray, scan: Scan, description: str) -> None:
        # From the slowest axis to the fastest; a view of a map in Fortran's order.
        self._planes = anomaly_map.T.reshape(-1, *anomaly_map.shape[1::-1])
        self._stored = 0
        header = _header(anomaly_map, scan, description)
        self._file = path.open("wb")
        # As gzip. Of float32 maps only runs of equal bytes repeat, such as zeros around a body: zlib's search for more
        # takes three times as long and makes no smaller file.
        self._gzip = zlib.compressobj(level=1, wbits=31, strategy=zlib.Z_RLE)
        start = io.BytesIO()
        header.write_to(start)
        self._file.write(self._gzip.compress(start.getvalue()))

    def store(self, planes: int) -> None:
        """Store the first ``planes`` (X, Y) planes, counted through all time points, as far as they are not yet.

        Raises:
            OSError: the file cannot be written.
        """
        for plane in self._planes[self._stored : planes]:
            self._file.write(self._gzip.compress(plane.tobytes()))
        self._stored = max(self._stored, planes)

    def close(self) -> None:
        """End the file; a second call does nothing, as with files.

        Raises:
            OSError: the file cannot be written.
        """
        if self._file.closed:
            return
        with self._file:
            self._file.write(self._gzip.flush())

    def __enter__(self) -> MapFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _header(anomaly_map: np.ndarray, scan: Scan, description: str) -> nib.Nifti1Header:
    # NIfTI-1 counts the voxels along an axis in 16 bits.
    kind = nib.Nifti1Image if max(anomaly_map.shape) < 2**15 else nib.Nifti2Image
    image = kind(anomaly_map, scan.affine)
    header = image.header
    header["descrip"] = description.encode("ascii", "replace")[:79]
    header["cal_min"], header["cal_max"] = 0, 1
    header.set_xyzt_units(xyz="mm")
    if scan.format == "nifti":
        _copy_geometry(scan.source, image)
    else:
        image.set_sform(scan.affine, code="scanner")
        # A qform cannot hold the shear of a tilted gantry: then only the sform speaks.
        image.set_qform(scan.affine, code="scanner" if _is_orthogonal(scan.affine) else "unknown")
    image.update_header()
    header.set_slope_inter(1, 0)
    return header


def _copy_geometry(source: Path, image: nib.Nifti1Image) -> None:
    with reading(source, "its geometry cannot be read any more"):
        original = nib.load(source).header
    # With a code of 0 a form is void, and its numbers may be anything.
    qform_code, sform_code = int(original["qform_code"]), int(original["sform_code"])
    image.set_qform(original.get_qform() if qform_code else None, code=qform_code)
    image.set_sform(original.get_sform() if sform_code else None, code=sform_code)
    image.header.set_xyzt_units(*original.get_xyzt_units())
    zooms = original.get_zooms()[: image.ndim]
    image.header.set_zooms(zooms + (1.0,) * (image.ndim - len(zooms)))


def _is_orthogonal(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-4))
