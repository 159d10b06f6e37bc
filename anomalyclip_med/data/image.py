"""PNG, JPEG and BMP pictures, through Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from anomalyclip_med.data.budget import check_size
from anomalyclip_med.data.reading import reading
from anomalyclip_med.data.scan import Scan, SliceInfo
from anomalyclip_med.data.slicing import Slicing
from anomalyclip_med.errors import ScanError

# `Image.open` with a list of formats finds only those whose plugins are loaded.
Image.init()

# By content, not by name.
_FORMATS = ("PNG", "JPEG", "BMP")
_GREY8_MODES = {"1", "L", "LA", "La"}
_GREY_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}
_ORIENTATION_TAG = 0x0112
TRANSPOSING_ORIENTATIONS = {5, 6, 7, 8}
"""EXIF and TIFF orientations that exchange rows and columns."""

PICTURE_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS affine of data without geometry: columns run to the left, rows to posterior (LPS identity), 1 mm."""


class ImageScan(Scan):
    """One picture: shape (columns, rows, 1) after the EXIF rotation.

    Args:
        path: the file.

    Raises:
        ScanError: not a readable picture, or over the limits (also Pillow's own on decompression bombs).
    """

    def __init__(self, path: Path) -> None:
        with reading(path, "not a readable picture"), Image.open(path, formats=_FORMATS) as image:
            (columns, rows), mode = image.size, image.mode
            # The base class's method: PNG's own decodes the picture to look for metadata behind it.
            if Image.Image.getexif(image).get(_ORIENTATION_TAG) in TRANSPOSING_ORIENTATIONS:
                columns, rows = rows, columns
        check_size(path, columns * rows * 4)
        shape = (columns, rows, 1)
        super().__init__(
            source=path,
            format="image",
            shape=shape,
            affine=PICTURE_AFFINE,
            slicing=Slicing.acquired(shape),
            slices=[SliceInfo(index=0, frame=None, instance=None, position=None)],
            color=_is_color(mode),
            stored_range=None if mode in _GREY_MODES else (0.0, 255.0),
        )

    def _read(self, index: int, place: int, time: int) -> np.ndarray:
        with (
            reading(self.source, "the picture cannot be decoded, the file is truncated or damaged"),
            Image.open(self.source, formats=_FORMATS) as image,
        ):
            pixels = picture(image)
        if pixels.shape[:2] != (self.shape[1], self.shape[0]):
            raise ScanError(f"{self.source}: the picture's size is not that of its header")
        return pixels


def palette_indices(path: Path) -> np.ndarray | None:
    """The indices that a palette picture stores, (rows, columns) uint8, or None for a file of another kind.

    Raises:
        ScanError: it is a picture that cannot be decoded.
    """
    with reading(path, "the picture cannot be decoded, the file is truncated or damaged"):
        try:
            image = Image.open(path, formats=(*_FORMATS, "TIFF"))
        except UnidentifiedImageError:  # not Pillow's to read
            return None
        with image:
            return np.array(ImageOps.exif_transpose(image)) if image.mode == "P" else None


def _is_color(mode: str) -> bool:
    """Return whether a picture of this Pillow mode is read as RGB: palettes and CMYK are."""
    return mode not in _GREY8_MODES | _GREY_MODES


def picture(image: Image.Image) -> np.ndarray:
    """Decode a Pillow image as it is meant to be seen.

    The EXIF rotation is applied, palettes and CMYK become RGB, and transparency lies on black.

    Returns:
        (rows, columns) float32, 0 to 255 for 8-bit grey; or (rows, columns, 3) uint8 RGB.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in _GREY_MODES:
        return np.asarray(image).astype(np.float32)
    if image.mode == "LA":
        grey, alpha = (np.asarray(band, dtype=np.float32) for band in image.split())
        return np.rint(grey * alpha / np.float32(255))
    if image.mode in _GREY8_MODES:
        return np.asarray(image.convert("L")).astype(np.float32)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.array(image.convert("RGB"))
