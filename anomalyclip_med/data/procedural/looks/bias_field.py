"""Uneven gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, seed, uniform
from anomalyclip_med.data.procedural.fields import smooth_noise
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class BiasField(Look):
    """A smooth factor over the whole picture, as of a coil or a lens.

    Attributes:
        strength: standard deviation of its logarithm.
        frequency: bumps across the picture.
        seed: of the field.
    """

    strength: float
    frequency: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(strength=uniform(rng, 0.05, 0.3), frequency=uniform(rng, 0.5, 1.2), seed=seed(rng))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        field = np.exp(smooth_noise(self.seed, image.shape[0], self.frequency) * np.float32(self.strength))
        return np.clip(image * field[..., None], 0.0, 1.0).astype(np.float32)
