"""Vignetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, uniform
from anomalyclip_med.data.procedural.fields import grid
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Vignette(Look):
    """Darker towards the corners.

    Attributes:
        strength: loss in the corners.
        power: of the distance from the middle.
    """

    strength: float
    power: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(strength=uniform(rng, 0.2, 0.9), power=uniform(rng, 2.0, 5.0))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        y, x = grid(image.shape[0])
        far = np.power((y * y + x * x) * np.float32(0.5), np.float32(self.power / 2))
        return image * (1 - np.float32(self.strength) * far)[..., None]
