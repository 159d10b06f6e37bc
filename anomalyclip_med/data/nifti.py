"""NIfTI-1 and NIfTI-2 volumes, through nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from anomalyclip_med.data.budget import check_stored
from anomalyclip_med.data.reading import reading
from anomalyclip_med.data.slicing import Plane
from anomalyclip_med.data.volume import VolumeScan
from anomalyclip_med.errors import NotAScanError, ScanError


class NiftiScan(VolumeScan):
    """A .nii or .nii.gz file, or a .hdr with its .img beside it, 2-D to 4-D, big or little endian, grey or RGB.

    The affine is nibabel's: sform where its code is set, else qform, else the voxel sizes alone. The window
    is the header's display range cal_min to cal_max.

    Args:
        path: the file.
        plane: the slices to cut.

    Raises:
        NotAScanError: a .hdr of another kind, such as Analyze, which does not tell left from right.
        ScanError: not NIfTI, or of a kind that is not supported.
    """

    def __init__(self, path: Path, plane: Plane) -> None:
        with reading(path, "not a readable NIfTI file"):
            if path.suffix.lower() == ".hdr" and not _heads_pair(path):
                raise NotAScanError(f"{path}: not a NIfTI header")
            image = nib.load(path)
            if not isinstance(image, nib.Nifti1Pair):  # the base class of all NIfTI images
                raise ScanError(f"{path}: not a NIfTI file")
            files = dict.fromkeys([path, Path(image.file_map["image"].filename)])
            header = image.header
            dtype = image.get_data_dtype()
            color = dtype.fields is not None
            scaling = (float(image.dataobj.slope), float(image.dataobj.inter))
            low, high = float(header["cal_min"]), float(header["cal_max"])
            unit = header.get_xyzt_units()[0]
            oriented = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
            shape, affine = image.shape, np.asarray(image.affine, dtype=np.float64)
        if not np.isfinite(scaling).all():
            raise ScanError(f"{path}: the scaling of the voxel values is not finite")
        warnings = []
        if not oriented:
            warnings.append("missing-orientation: sform and qform are unset, the axes' directions are assumed")
        if unit in ("meter", "micron"):
            warnings.append(f"unit-not-mm: the header gives lengths in {unit}, they are taken as millimetres")
        super().__init__(
            source=path,
            format="nifti",
            shape=shape,
            affine=affine,
            dtype=np.dtype(np.uint8) if color else dtype,
            color=color,
            plane=plane,
            scaling=scaling,
            window=((low + high) / 2, high - low) if np.isfinite([low, high]).all() and high > low else None,
            warnings=warnings,
        )
        self.files = tuple(files)

    def _load(self) -> np.ndarray:
        check_stored(self.files[-1], self._stored_bytes, compressed=self.source.suffix.lower() == ".gz")
        stored = np.asarray(nib.load(self.source).dataobj.get_unscaled())
        if not self.color:
            return stored
        # RGB24 and RGBA32 are records of bytes: the components become a last axis.
        return np.stack([stored[field] for field in "RGB"], axis=-1)


def _heads_pair(path: Path) -> bool:
    """Whether a .hdr file is the header of a NIfTI-1 or NIfTI-2 pair, which say so at fixed places."""
    with path.open("rb") as stream:
        header = stream.read(348)
    return header[344:348] == b"ni1\0" or header[4:8] == b"ni2\0"
