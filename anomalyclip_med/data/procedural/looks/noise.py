"""Noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, chance, log_uniform, seed
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Noise(Look):
    """Sensor noise, independent from pixel to pixel: constant, or growing with the square root of the brightness.

    Attributes:
        sigma: standard deviation (at full brightness for counts).
        counts: grows with the brightness, as of counted photons.
        grey: the same in all channels.
        seed: of the noise.
    """

    sigma: float
    counts: bool
    grey: bool
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(sigma=log_uniform(rng, 0.005, 0.1), counts=chance(rng, 0.5), grey=chance(rng, 0.6), seed=seed(rng))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        shape = (*image.shape[:2], 1 if self.grey else 3)
        noise = np.random.default_rng(self.seed).standard_normal(shape, dtype=np.float32) * np.float32(self.sigma)
        if self.counts:
            noise = noise * np.sqrt(image)
        return np.clip(image + noise, 0.0, 1.0).astype(np.float32)
