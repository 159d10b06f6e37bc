"""Slices and maps as small pictures, encoded for a web page."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from anomalyclip_med.writers.overlay import heat_colormap

_MAP_SIDE = 256
"""Pixels; maps come from patches and are smooth."""
_THUMBNAIL_SIDE = 176
_QUALITIES = (80, 60, 40, 20)
_MAX_BYTES = 48_000
"""Of an encoded slice of 512 x 512 pixels: noise is hard to encode and not worth more."""


def slice_webp(image: np.ndarray, side: int) -> bytes:
    """Encode a slice, lossy: quality 80, less where it is so noisy that it would take too much room.

    Args:
        image: (3, rows, columns) in [0, 1].
        side: pixels of the longer side at most.
    """
    picture = _picture(image)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    limit = _MAX_BYTES * max(1.0, picture.width * picture.height / 512**2)
    for quality in _QUALITIES:
        encoded = _webp(picture, quality=quality, method=2)
        if len(encoded) <= limit:
            break
    return encoded


def map_webp(anomaly_map: np.ndarray) -> bytes:
    """Encode a map in the colours of the fixed scale [0, 1], lossless, transparent where there is nothing.

    Args:
        anomaly_map: (rows, columns) in [0, 1].
    """
    # method 0: half as long for a tenth more bytes.
    return _webp(_heat(anomaly_map, _MAP_SIDE), lossless=True, method=0)


def thumbnail_webp(image: np.ndarray, anomaly_map: np.ndarray, aspect: float) -> tuple[bytes, int, int]:
    """Draw a small slice under its map.

    Args:
        image: (3, rows, columns) in [0, 1].
        anomaly_map: (rows, columns) in [0, 1].
        aspect: width of the whole slice over its height.

    Returns:
        The encoded picture, its width and its height in pixels.
    """
    size = max(1, round(_THUMBNAIL_SIDE * min(1, aspect))), max(1, round(_THUMBNAIL_SIDE * min(1, 1 / aspect)))
    picture = _picture(image).convert("RGBA").resize(size, Image.Resampling.LANCZOS)
    picture.alpha_composite(_heat(anomaly_map, _MAP_SIDE).resize(size, Image.Resampling.BILINEAR))
    return _webp(picture.convert("RGB"), quality=80), *size


def scale_stops() -> list[tuple[float, str]]:
    """The colours of the scale from 0 to 1 as CSS has them."""
    colors = _colors()
    return [
        (i / 16, "rgb({} {} {} / {:.3f})".format(*colors[v, :3], colors[v, 3] / 255))
        for i, v in enumerate(np.linspace(0, 255, 17).round().astype(int))
    ]


@cache
def _colors() -> np.ndarray:
    """(256, 4) uint8, those of the overlays."""
    return (heat_colormap()(np.arange(256)) * 255).round().astype(np.uint8)


def _picture(image: np.ndarray) -> Image.Image:
    pixels = (image.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    grey = (pixels[..., :1] == pixels[..., 1:]).all()
    return Image.fromarray(pixels[..., 0] if grey else pixels)


def _heat(anomaly_map: np.ndarray, side: int) -> Image.Image:
    values = Image.fromarray(np.ascontiguousarray(anomaly_map, dtype=np.float32))
    # Averages of areas: no ringing over 1, and a peak stays where it is.
    values.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=None)
    return Image.fromarray(_colors()[np.clip(np.asarray(values) * 255, 0, 255).round().astype(np.uint8)])


def _webp(picture: Image.Image, **options: int) -> bytes:
    file = BytesIO()
    picture.save(file, "WEBP", **options)
    return file.getvalue()
