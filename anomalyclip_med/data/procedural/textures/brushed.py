"""Brushed metal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, chance, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import grid, power_noise, unit
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Brushed(Texture):
    """Fine streaks along one direction, or round a centre as left by a lathe.

    Attributes:
        length: length of the streaks over their width.
        angle: direction in radians.
        turned: streaks run round ``centre``.
        centre: (y, x) in [-1, 1].
        seed: of the streaks.
    """

    length: float
    angle: float
    turned: bool
    centre: tuple[float, float]
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            length=log_uniform(rng, 12.0, 80.0),
            angle=angle(rng),
            turned=chance(rng, 0.25),
            centre=(uniform(rng, -0.6, 0.6), uniform(rng, -0.6, 0.6)),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        if not self.turned:
            return unit(power_noise(self.seed, size, 0.7, 6.0, self.length, self.angle))
        streaks = power_noise(self.seed, size, 0.7, 6.0, self.length / 4)
        y, x = grid(size)
        dy, dx = y - np.float32(self.centre[0]), x - np.float32(self.centre[1])
        radius = np.hypot(dy, dx) * np.float32(size / 2.4)
        turn = (np.arctan2(dy, dx) / np.float32(2 * np.pi) + 0.5) * np.float32(size - 1)
        return unit(streaks[radius.astype(np.int32) % size, turn.astype(np.int32) % size])
