"""Fractal noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, chance, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import power_noise, unit
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Fractal(Texture):
    """Noise whose amplitude falls as a power of frequency; drawn out along one direction, or ridged.

    Attributes:
        exponent: fall of the amplitude; 0.9 is rough, 2.6 is cloudy.
        low: frequency (cycles per picture) below which there is no more power.
        stretch: length of structures along ``angle`` over their width.
        angle: direction in radians.
        ridged: fold the noise at its mean, which makes bright creases.
        seed: of the noise.
    """

    exponent: float
    low: float
    stretch: float
    angle: float
    ridged: bool
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            exponent=uniform(rng, 0.9, 2.6),
            low=log_uniform(rng, 2.5, 9.0),
            stretch=log_uniform(rng, 1.5, 6.0) if chance(rng, 0.35) else 1.0,
            angle=angle(rng),
            ridged=chance(rng, 0.2),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        noise = power_noise(self.seed, size, self.exponent, self.low, self.stretch, self.angle)
        return np.clip(np.abs(noise) * np.float32(0.45), 0.0, 1.0) if self.ridged else unit(noise)
