"""Vectorised building blocks: coordinate grids, noise fields with a given spectrum, soft steps, blurs, warps.

Lengths are fractions of the picture and frequencies are cycles per picture, so that structures scale with the size.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from anomalyclip_med.data.procedural.family import Field, Image


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Field, Field]:
    """Coordinates (y, x) of the pixel centres, each (size, size) in (-1, 1); read-only."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2.0 - 1.0).astype(np.float32)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    y.flags.writeable = x.flags.writeable = False
    return y, x


@lru_cache(maxsize=8)
def _frequencies(size: int) -> tuple[Field, Field]:
    """Frequencies (vertical, horizontal) in cycles per picture of a real FFT, each (size, size // 2 + 1)."""
    vertical = (fft.fftfreq(size) * size).astype(np.float32)
    horizontal = (fft.rfftfreq(size) * size).astype(np.float32)
    v, h = np.meshgrid(vertical, horizontal, indexing="ij")
    v.flags.writeable = h.flags.writeable = False
    return v, h


def rotated(size: int, angle: float, centre: tuple[float, float] = (0.0, 0.0)) -> tuple[Field, Field]:
    """Coordinates (across, along) in a frame turned by ``angle`` (radians) about ``centre`` (y, x)."""
    y, x = grid(size)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dy, dx = y - np.float32(centre[0]), x - np.float32(centre[1])
    return -sin * dx + cos * dy, cos * dx + sin * dy


def _shaped(seed: int, size: int, envelope: Field) -> Field:
    """White noise filtered by an envelope over the half spectrum, zero mean, unit standard deviation."""
    white = np.random.default_rng(seed).standard_normal((size, size), dtype=np.float32)
    spectrum = fft.rfft2(white)
    spectrum *= envelope
    spectrum[0, 0] = 0.0
    noise = fft.irfft2(spectrum, s=(size, size))
    noise /= noise.std() + np.float32(1e-8)
    return np.asarray(noise, dtype=np.float32)


def power_noise(
    seed: int, size: int, exponent: float, low: float = 1.0, stretch: float = 1.0, angle: float = 0.0
) -> Field:
    """Fractal noise, amplitude falling as frequency to the minus ``exponent`` above ``low``; zero mean, unit std.

    ``stretch`` > 1 draws the structures out along ``angle``.
    """
    v, h = _frequencies(size)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = (cos * h + sin * v) * np.float32(stretch), cos * v - sin * h
    squared = along * along + across * across
    return _shaped(seed, size, np.power(squared + np.float32(low * low), np.float32(-exponent / 2.0)))


def smooth_noise(seed: int, size: int, frequency: float) -> Field:
    """Smooth noise with structures of about 1 / frequency of the picture; zero mean, unit std."""
    v, h = _frequencies(size)
    return _shaped(seed, size, np.exp((v * v + h * h) * np.float32(-0.5 / frequency**2)))


def band_noise(seed: int, size: int, frequency: float, width: float, angle: float, spread: float) -> Field:
    """Noise of one frequency, relative band ``width``, around one direction (``spread`` in radians; >= 3: all)."""
    v, h = _frequencies(size)
    radius = np.sqrt(v * v + h * h)
    envelope = np.exp(-0.5 * np.square((radius - np.float32(frequency)) / np.float32(width * frequency)))
    if spread < 3.0:
        turn = np.arctan2(v, h) - np.float32(angle)
        turn = np.arctan(np.tan(turn))  # a direction and its opposite are the same wave
        envelope = envelope * np.exp(-0.5 * np.square(turn / np.float32(spread)))
    return _shaped(seed, size, envelope.astype(np.float32))


def unit(noise: Field) -> Field:
    """Zero-mean, unit-std noise as tone: 2.2 standard deviations to either side fill [0, 1], the rest is clipped."""
    return np.clip(noise * np.float32(0.5 / 2.2) + np.float32(0.5), 0.0, 1.0)


def smoothstep(low: float, high: float, value: Field) -> Field:
    """0 below ``low``, 1 above ``high``, cubic in between; falls instead of rising when ``high`` < ``low``."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def blur(array: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur over the first two axes, ``sigma`` in pixels; three box passes where that is much faster."""
    if sigma <= 0.05:
        return array
    trailing = (0.0,) * (array.ndim - 2)
    if sigma < 3.0:
        return np.asarray(ndimage.gaussian_filter(array, (sigma, sigma, *trailing), truncate=3.0), dtype=np.float32)
    width = max(3, round(np.sqrt(4.0 * sigma * sigma + 1.0)) | 1)
    box = (width, width, *(1 for _ in trailing))
    for _ in range(3):
        array = ndimage.uniform_filter(array, box, mode="nearest")
    return np.asarray(array, dtype=np.float32)


def sample_at(image: Image, y: Field, x: Field) -> Image:
    """Image read at coordinates in [-1, 1], bilinear, mirrored at the borders; the inverse map of a warp."""
    size = image.shape[0]
    rows, columns = (y + 1.0) * (size / 2) - 0.5, (x + 1.0) * (size / 2) - 0.5
    rows = np.abs(rows)
    rows = np.clip(np.where(rows > size - 1, 2 * (size - 1) - rows, rows), 0, size - 1)
    columns = np.abs(columns)
    columns = np.clip(np.where(columns > size - 1, 2 * (size - 1) - columns, columns), 0, size - 1)
    top, left = np.minimum(rows.astype(np.int32), size - 2), np.minimum(columns.astype(np.int32), size - 2)
    down, right = (rows - top)[..., None].astype(np.float32), (columns - left)[..., None].astype(np.float32)
    upper = image[top, left] * (1 - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def shifted(field: Field, down: int, right: int) -> Field:
    """The field moved by whole pixels; zero where nothing moves in."""
    moved = np.zeros_like(field)
    height, width = field.shape
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = field[
        max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


def mix(below: Image, above: Image, alpha: Field) -> Image:
    """``above`` laid over ``below`` with coverage ``alpha``."""
    a = alpha[..., None]
    return np.asarray(below + (above - below) * a, dtype=np.float32)


def relief(height: Field, direction: float, elevation: float = 0.8) -> Field:
    """Lambert shading of a height field (heights and lengths in half-picture units), in [0, 1].

    ``direction`` is where the light comes from (radians), ``elevation`` its height over the horizon (radians).
    """
    step = 2.0 / height.shape[0]
    slope_y, slope_x = np.gradient(height, np.float32(step))
    light_y, light_x = np.sin(direction) * np.cos(elevation), np.cos(direction) * np.cos(elevation)
    shade = np.sin(elevation) - light_y * slope_y - light_x * slope_x
    shade = shade / np.sqrt(1.0 + slope_y * slope_y + slope_x * slope_x)
    return np.clip(shade, 0.0, 1.0).astype(np.float32)
