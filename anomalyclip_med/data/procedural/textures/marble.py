"""Marble veins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import power_noise, rotated
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Marble(Texture):
    """Waves bent by fractal noise.

    Attributes:
        frequency: waves across the picture.
        angle: direction in radians.
        bending: how far the noise moves the waves, in radians of phase.
        sharpness: 1 is a sine; larger makes thin veins.
        seed: of the noise.
    """

    frequency: float
    angle: float
    bending: float
    sharpness: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            frequency=log_uniform(rng, 2.0, 14.0),
            angle=angle(rng),
            bending=uniform(rng, 0.8, 4.0),
            sharpness=log_uniform(rng, 0.6, 3.0),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        across, _ = rotated(size, self.angle)
        noise = power_noise(self.seed, size, 1.8, 2.0)
        wave = np.sin(across * np.float32(np.pi * self.frequency) + noise * np.float32(self.bending))
        return np.power(0.5 + 0.5 * wave, np.float32(self.sharpness)).astype(np.float32)
