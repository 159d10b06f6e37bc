"""The inside of a pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import grid, power_noise, relief, smooth_noise
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Tunnel(Texture):
    """A view down a corrugated pipe: it darkens towards the far end, with bent ridges round it.

    Attributes:
        centre: (y, x) of the far end, in [-1.2, 1.2].
        ridges: ridges per e-fold of the distance.
        depth: how strong the ridges are.
        bending: how irregular they are, in ridges.
        darkness: how fast it darkens.
        grain: strength of the grain on the wall.
        light: direction of the light in radians.
        seed: of bending and grain.
    """

    centre: tuple[float, float]
    ridges: float
    depth: float
    bending: float
    darkness: float
    grain: float
    light: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            centre=(uniform(rng, -1.0, 1.0), uniform(rng, -1.0, 1.0)),
            ridges=uniform(rng, 1.0, 4.0),
            depth=uniform(rng, 0.0, 0.12),
            bending=uniform(rng, 0.1, 0.6),
            darkness=log_uniform(rng, 0.15, 1.2),
            grain=log_uniform(rng, 0.01, 0.08),
            light=angle(rng),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        y, x = grid(size)
        radius = np.hypot(y - np.float32(self.centre[0]), x - np.float32(self.centre[1])) + np.float32(0.05)
        bend = smooth_noise(self.seed, size, 2.5) * np.float32(self.bending)
        height = np.sin(2 * np.pi * (np.log(radius) * np.float32(self.ridges) + bend)) * np.minimum(radius, 1.0)
        shade = relief((height * np.float32(self.depth)).astype(np.float32), self.light)
        wall = 1.0 - np.exp(-radius / np.float32(self.darkness))
        grain = power_noise(self.seed + 1, size, 1.2, 5.0) * np.float32(self.grain)
        return np.clip(wall * (0.3 + 0.8 * shade) + grain, 0.0, 1.0).astype(np.float32)
