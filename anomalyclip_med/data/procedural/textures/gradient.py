"""Smooth shading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, chance, log_uniform, seed
from anomalyclip_med.data.procedural.fields import grid, power_noise, rotated
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Gradient(Texture):
    """Nearly no texture: tone that changes slowly, under a faint grain.

    Attributes:
        angle: direction in radians.
        radial: falls off from the middle instead.
        grain: strength of the grain.
        seed: of the grain.
    """

    angle: float
    radial: bool
    grain: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(angle=angle(rng), radial=chance(rng, 0.3), grain=log_uniform(rng, 0.003, 0.12), seed=seed(rng))

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        y, x = grid(size)
        across, _ = rotated(size, self.angle)
        tone = 1.0 - 0.5 * (y * y + x * x) if self.radial else 0.5 + 0.35 * across
        noise = power_noise(self.seed, size, 1.2, 2.0)
        return np.clip(tone + noise * np.float32(self.grain), 0.0, 1.0).astype(np.float32)
