"""Bricks and tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, chance, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import power_noise, rotated, smoothstep
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Bricks(Texture):
    """Rows of rectangles with joints, each of its own tone; rows shifted (bricks) or not (tiles).

    Attributes:
        rows: rows across the picture.
        aspect: width of a brick over its height.
        offset: shift of every other row, in bricks.
        joint: width of the joint, in rows.
        variation: spread of the bricks' tones.
        grain: strength of the noise on them.
        angle: direction in radians.
        seed: of tones and noise.
    """

    rows: float
    aspect: float
    offset: float
    joint: float
    variation: float
    grain: float
    angle: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            rows=log_uniform(rng, 3.0, 16.0),
            aspect=uniform(rng, 0.8, 3.0),
            offset=0.5 if chance(rng, 0.5) else 0.0,
            joint=uniform(rng, 0.03, 0.18),
            variation=uniform(rng, 0.0, 0.25),
            grain=uniform(rng, 0.0, 0.15),
            angle=uniform(rng, -0.4, 0.4) if chance(rng, 0.4) else 0.0,
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        across, along = rotated(size, self.angle)
        v = across * np.float32(self.rows / 2) + np.float32(64.0)
        row = np.floor(v)
        u = along * np.float32(self.rows / 2 / self.aspect) + row * np.float32(self.offset) + np.float32(64.0)
        column = np.floor(u)
        edge_v = 0.5 - np.abs(v - row - 0.5)
        edge_u = (0.5 - np.abs(u - column - 0.5)) * np.float32(self.aspect)
        body = smoothstep(self.joint * 0.3, self.joint, np.minimum(edge_u, edge_v))
        tones = np.random.default_rng(self.seed).normal(0.0, self.variation, (64, 64)).astype(np.float32)
        tone = 0.65 + tones[row.astype(np.int32) % 64, column.astype(np.int32) % 64]
        tone = tone + power_noise(self.seed, size, 1.0, 4.0) * np.float32(self.grain)
        return np.clip(tone * body + 0.15 * (1.0 - body), 0.0, 1.0).astype(np.float32)
