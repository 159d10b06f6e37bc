"""TIFF pictures: Pillow for what it decodes, tifffile for 16-bit colour and unusual layouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from anomalyclip_med.data.budget import check_size
from anomalyclip_med.data.image import PICTURE_AFFINE, TRANSPOSING_ORIENTATIONS, picture
from anomalyclip_med.data.reading import reading
from anomalyclip_med.data.scan import Scan, SliceInfo
from anomalyclip_med.data.slicing import Slicing
from anomalyclip_med.errors import ScanError

_GREY = {tifffile.PHOTOMETRIC.MINISWHITE, tifffile.PHOTOMETRIC.MINISBLACK}

# Some writers declare three grey samples where they mean RGB.
_RGB = {tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.MINISBLACK}


class TiffScan(Scan):
    """A TIFF file: shape (columns, rows, pages). Pages unlike the first one (thumbnails) are left out.

    Args:
        path: the file.

    Raises:
        ScanError: not a readable TIFF, of a kind that is not supported, or over the limits.
    """

    def __init__(self, path: Path) -> None:
        with reading(path, "not a readable TIFF file"), tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first
            pages = [
                i
                for i, page in enumerate(_pages(path, tiff))
                if page.shape == first.shape and page.dtype == first.dtype and not page.is_reduced
            ]
            dropped = len(tiff.pages) - len(pages)
            # Numbers, unless a damaged tag holds several values or a text.
            rows, columns, samples = int(first.imagelength), int(first.imagewidth), int(first.samplesperpixel)
            dtype, orientation = first.dtype, _orientation(first)
            grey = first.photometric in _GREY and samples == 1
            if first.imagedepth != 1:
                raise ScanError(f"{path}: TIFF pages with a depth are not supported")
        if not pages or dtype is None or rows < 1 or columns < 1:
            raise ScanError(f"{path}: the TIFF file holds no full picture")
        # The type of the decoded samples: 1-bit and 8-bit pictures are both 0 to 255 once decoded by Pillow.
        self._shallow = dtype.itemsize == 1 and dtype.kind in "ub"
        check_size(path, rows * columns * max(samples, 3) * dtype.itemsize, len(pages))
        if orientation in TRANSPOSING_ORIENTATIONS:
            rows, columns = columns, rows
        shape = (columns, rows, len(pages))
        super().__init__(
            source=path,
            format="image",
            shape=shape,
            affine=PICTURE_AFFINE,
            slicing=Slicing.acquired(shape),
            slices=[
                SliceInfo(index=i, frame=page if len(pages) > 1 else None, instance=None, position=None)
                for i, page in enumerate(pages)
            ],
            color=not grey,
            stored_range=(0.0, 255.0) if self._shallow or not grey else None,
            warnings=[f"pages-left-out: {dropped} pages differ from the first one"] if dropped else [],
        )
        self._pages = pages

    def _read(self, index: int, place: int, time: int) -> np.ndarray:
        # Pillow knows more compressions and colour spaces of 8-bit pages, tifffile more sample types; each is
        # the other's fallback.
        decoders = (_by_pillow, _by_tifffile) if self._shallow else (_by_tifffile, _by_pillow)
        for decode in decoders:
            try:
                with reading(self.source, "the page cannot be decoded: truncated, damaged or not supported"):
                    pixels = decode(self.source, self._pages[index])
                    expected = (self.shape[1], self.shape[0], 3)[: 3 if self.color else 2]
                    if pixels.shape != expected:
                        raise ScanError(f"{self.source}: the page does not decode to its header's shape")
                    return pixels
            except ScanError as error:
                failure = error
        raise failure


def _pages(path: Path, tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """The pages of a file, each of which says where the next one is."""
    places = set()
    for page in tiff.pages:
        if page.offset in places:
            raise ScanError(f"{path}: the list of TIFF pages leads back to an earlier page, the file is damaged")
        places.add(page.offset)
        yield page


def _by_pillow(path: Path, page: int) -> np.ndarray:
    with Image.open(path, formats=("TIFF",)) as image:
        image.seek(page)
        return picture(image)


def _by_tifffile(path: Path, page: int) -> np.ndarray:
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[page]
        pixels = tags.asarray()
        if tags.axes.startswith("S"):  # one plane per colour
            pixels = np.moveaxis(pixels, 0, -1)
        photometric, bits, orientation = tags.photometric, tags.bitspersample, _orientation(tags)
    pixels = _oriented(pixels, orientation)
    if photometric in _GREY and pixels.ndim == 2:
        if photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
            pixels = (1 << bits) - 1 - pixels
        return pixels.astype(np.float32) * np.float32(255 if pixels.dtype == bool else 1)
    if photometric in _RGB and pixels.dtype.kind == "u" and pixels.shape[-1] in (3, 4):
        pixels = pixels.astype(np.float32) / np.float32((1 << bits) - 1)
        # Transparency lies on black, as in every other picture.
        opacity = pixels[..., 3:] if pixels.shape[-1] == 4 else np.float32(1)
        return np.rint(pixels[..., :3] * opacity * 255).astype(np.uint8)
    raise ScanError(f"{path}: TIFF samples of this kind are not supported")


def _orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get("Orientation")
    return 1 if tag is None else int(tag.value)


def _oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the TIFF orientation tag, whose values 1 to 8 are those of EXIF."""
    if orientation in TRANSPOSING_ORIENTATIONS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
