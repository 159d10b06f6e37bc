"""Band-passed noise, as of Gabor filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, chance, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import band_noise, unit
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Bands(Texture):
    """Noise of one frequency, in one direction (ripples) or in all (leather, orange peel).

    Attributes:
        frequency: cycles per picture.
        width: relative band width.
        angle: direction of the waves in radians.
        spread: spread of the directions in radians; 3 and more means all.
        seed: of the noise.
    """

    frequency: float
    width: float
    angle: float
    spread: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            frequency=log_uniform(rng, 6.0, 45.0),
            width=uniform(rng, 0.08, 0.45),
            angle=angle(rng),
            spread=uniform(rng, 0.08, 0.6) if chance(rng, 0.5) else 3.2,
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        return unit(band_noise(self.seed, size, self.frequency, self.width, self.angle, self.spread))
