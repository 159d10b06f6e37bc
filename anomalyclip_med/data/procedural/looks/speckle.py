"""Speckle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import ndimage

from anomalyclip_med.data.procedural.family import Image, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Speckle(Look):
    """Multiplicative noise of coherent waves, correlated more along rows than along columns, then compressed.

    Attributes:
        strength: of the noise, 1 for fully developed speckle.
        across: correlation length along rows, as a fraction of the picture.
        along: correlation length along columns, as a fraction of the picture.
        seed: of the noise.
    """

    strength: float
    across: float
    along: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        along = log_uniform(rng, 0.002, 0.01)
        return cls(
            strength=log_uniform(rng, 0.12, 0.8), across=along * uniform(rng, 1.0, 3.0), along=along, seed=seed(rng)
        )

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        size = image.shape[0]
        waves = np.random.default_rng(self.seed).standard_normal((2, size, size), dtype=np.float32)
        waves = ndimage.gaussian_filter(waves, (0.0, self.along * size, self.across * size), truncate=3.0)
        waves /= waves.std()
        # Rayleigh amplitude with unit mean.
        amplitude = np.hypot(waves[0], waves[1]) / np.float32(np.sqrt(np.pi / 2))
        factor = 1 + np.float32(self.strength) * (amplitude - 1)
        return np.clip(image * factor[..., None], 0.0, 1.0).astype(np.float32)
