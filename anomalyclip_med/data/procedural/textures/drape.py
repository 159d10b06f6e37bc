"""Folded sheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import power_noise, relief
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Drape(Texture):
    """A folded or dented sheet under slanted light.

    Attributes:
        roughness: exponent of the height noise; smaller is rougher.
        low: folds across the picture.
        depth: height of the folds.
        stretch: length of the folds over their width.
        angle: direction of the folds in radians.
        light: direction of the light in radians.
        seed: of the heights.
    """

    roughness: float
    low: float
    depth: float
    stretch: float
    angle: float
    light: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            roughness=uniform(rng, 2.2, 4.0),
            low=log_uniform(rng, 2.0, 8.0),
            depth=log_uniform(rng, 0.015, 0.08),
            stretch=log_uniform(rng, 1.0, 4.0),
            angle=angle(rng),
            light=angle(rng),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        height = power_noise(self.seed, size, self.roughness, self.low, self.stretch, self.angle)
        return relief(height * np.float32(self.depth), self.light)
