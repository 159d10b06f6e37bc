"""NRRD and MetaImage volumes, through SimpleITK."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from anomalyclip_med.data.budget import check_stored
from anomalyclip_med.data.reading import reading
from anomalyclip_med.data.slicing import Plane
from anomalyclip_med.data.volume import VolumeScan
from anomalyclip_med.errors import ScanError

_HEADER_BYTES = 1 << 16
_FIELD_BYTES = 1024
_DIMENSIONS = re.compile(rb"^[ \t]*NDims[ \t]*[=:]?(.*)$", re.MULTILINE)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_DATA_FILE = {
    "nrrd": re.compile(rb"^data ?file:[ \t]*(.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE),
    "metaimage": re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*(.*?)[ \t\r]*$", re.MULTILINE),
}
_IMAGE_IO = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}


class ItkScan(VolumeScan):
    """An .nrrd, .nhdr, .mha or .mhd volume, 2-D to 4-D, one value or three 8-bit components per voxel.

    Args:
        path: the file; for .nhdr and .mhd the header, whose data file must lie beside it.
        format: "nrrd" or "metaimage".
        plane: the slices to cut.

    Raises:
        ScanError: not of this format, of a kind that is not supported, or with a data file elsewhere.
    """

    def __init__(self, path: Path, format: str, plane: Plane) -> None:
        data_file = _data_file(path, format)
        with reading(path, f"not a readable {format.upper()} file"):
            reader = sitk.ImageFileReader()
            reader.SetImageIO(_IMAGE_IO[format])
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            pixel_type, components = reader.GetPixelID(), reader.GetNumberOfComponents()
            size, spacing = reader.GetSize(), reader.GetSpacing()
            origin, direction = reader.GetOrigin(), reader.GetDirection()
        color = pixel_type == sitk.sitkVectorUInt8 and components == 3
        if not color and pixel_type not in _DTYPES:
            raise ScanError(f"{path}: voxels of type {sitk.GetPixelIDValueAsString(pixel_type)} are not supported")
        super().__init__(
            source=path,
            format=format,
            shape=size,
            affine=_affine(size, spacing, origin, direction),
            dtype=np.dtype(np.uint8) if color else _DTYPES[pixel_type],
            color=color,
            plane=plane,
        )
        self.files = (path,) if data_file is None else (path, data_file)
        self._image: sitk.Image | None = None

    def close(self) -> None:
        """Free the stored array."""
        super().close()
        self._image = None

    def _load(self) -> np.ndarray:
        check_stored(self.files[-1], self._stored_bytes, compressed=True)
        # The array is a view of the image, which has to live as long: a copy would need the memory twice.
        self._image = image = sitk.ReadImage(str(self.source), imageIO=_IMAGE_IO[self.format])
        array = sitk.GetArrayViewFromImage(image)
        # SimpleITK's arrays run from the slowest axis to the fastest, the components last.
        spatial = range(image.GetDimension() - 1, -1, -1)
        return array.transpose(*spatial, array.ndim - 1) if self.color else array.transpose(*spatial)


_DTYPES: dict[Any, np.dtype[Any]] = {
    sitk.sitkUInt8: np.dtype(np.uint8),
    sitk.sitkInt8: np.dtype(np.int8),
    sitk.sitkUInt16: np.dtype(np.uint16),
    sitk.sitkInt16: np.dtype(np.int16),
    sitk.sitkUInt32: np.dtype(np.uint32),
    sitk.sitkInt32: np.dtype(np.int32),
    sitk.sitkUInt64: np.dtype(np.uint64),
    sitk.sitkInt64: np.dtype(np.int64),
    sitk.sitkFloat32: np.dtype(np.float32),
    sitk.sitkFloat64: np.dtype(np.float64),
}


def _data_file(path: Path, format: str) -> Path | None:
    """Return the detached data file, which a strange header may only place in its own folder."""
    with reading(path, "the header cannot be read"), path.open("rb") as stream:
        header = stream.read(_HEADER_BYTES)
    if format == "nrrd":
        # An empty line ends the header; pixels follow.
        header = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0]
    _check_header(path, format, header)
    found = _DATA_FILE[format].search(header)
    if found is None:
        return None
    name = found[1].decode("utf-8", errors="replace")
    if format == "metaimage" and name.upper() == "LOCAL":
        return None
    if name.upper().startswith("LIST") or "%" in name:
        raise ScanError(f"{path}: a volume over several data files is not supported")
    target = path.parent / name
    if Path(name) != Path(Path(name).name) or "\\" in name or target.is_symlink():
        raise ScanError(f"{path}: the data file must lie in the same folder as its header")
    return target


def _check_header(path: Path, format: str, header: bytes) -> None:
    """Refuse what makes the parsers of ITK write beyond their buffers, which ends the whole process."""
    if format == "nrrd":
        # An error of the parser quotes the line; comments and key/value pairs are not parsed.
        lines = [line for line in header.split(b"\n") if not line.startswith(b"#") and b":=" not in line]
        if max(map(len, lines)) > _FIELD_BYTES:
            raise ScanError(f"{path}: a field of the NRRD header is too long, the file is damaged")
        return
    for found in _DIMENSIONS.finditer(header):
        if found[1].strip() not in (b"1", b"2", b"3", b"4"):
            raise ScanError(f"{path}: the number of dimensions is not 1 to 4, the file is damaged or no volume")


def _affine(
    size: tuple[int, ...],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    direction: tuple[float, ...],
) -> np.ndarray:
    """Return the RAS affine of ITK's LPS geometry; a picture lies in the plane z = 0."""
    n = len(size)
    spatial = min(n, 3)
    affine = np.eye(4)
    matrix = np.reshape(direction, (n, n)) * np.asarray(spacing)
    affine[:spatial, :spatial] = matrix[:spatial, :spatial]
    affine[:spatial, 3] = origin[:spatial]
    return _LPS_TO_RAS @ affine
