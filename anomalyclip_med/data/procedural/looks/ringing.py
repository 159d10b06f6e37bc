"""Truncated spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import fft

from anomalyclip_med.data.procedural.family import Image, log_uniform
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Ringing(Look):
    """The outer part of the spectrum is missing: blur with ripples beside edges.

    Attributes:
        kept: share of the frequencies kept along each axis.
    """

    kept: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(kept=log_uniform(rng, 0.25, 0.8))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        size = image.shape[0]
        spectrum = fft.rfft2(image, axes=(0, 1))
        limit = self.kept * size / 2
        spectrum[np.abs(fft.fftfreq(size) * size) > limit] = 0.0
        spectrum[:, fft.rfftfreq(size) * size > limit] = 0.0
        return np.clip(fft.irfft2(spectrum, s=(size, size), axes=(0, 1)), 0.0, 1.0).astype(np.float32)
