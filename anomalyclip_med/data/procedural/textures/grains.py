"""Cells with borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, chance, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import grid, power_noise, smoothstep
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Grains(Texture):
    """Voronoi cells of a jittered lattice: grains of a metal, pebbles, foam.

    Attributes:
        cells: cells across the picture.
        jitter: 0 is a regular lattice, 1 is irregular.
        border: width of the borders, in cells.
        variation: spread of the cells' tones.
        domed: cells shaded from centre to border instead of flat.
        bright_border: borders brighter than the cells.
        seed: of lattice and tones.
    """

    cells: float
    jitter: float
    border: float
    variation: float
    domed: bool
    bright_border: bool
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            cells=log_uniform(rng, 6.0, 45.0),
            jitter=uniform(rng, 0.4, 1.0),
            border=log_uniform(rng, 0.03, 0.3),
            variation=uniform(rng, 0.0, 0.3),
            domed=chance(rng, 0.4),
            bright_border=chance(rng, 0.3),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        rng = np.random.default_rng(self.seed)
        count = int(np.ceil(self.cells)) + 3
        points = (0.5 + self.jitter * (rng.random((2, count, count)) - 0.5)).astype(np.float32)
        tones = rng.normal(0.0, 1.0, (count, count)).astype(np.float32)
        y, x = grid(size)
        bend = power_noise(self.seed, size, 2.0, 2.0) * np.float32(0.25)
        v = (y + 1.0) * np.float32(self.cells / 2) + 1.0 + bend
        u = (x + 1.0) * np.float32(self.cells / 2) + 1.0 - bend
        row, column = np.floor(v).astype(np.int32), np.floor(u).astype(np.int32)
        nearest = np.full((size, size), 9.0, dtype=np.float32)
        second = nearest.copy()
        tone = np.zeros((size, size), dtype=np.float32)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                r, c = np.clip(row + down, 0, count - 1), np.clip(column + right, 0, count - 1)
                distance = np.hypot(row + down + points[0, r, c] - v, column + right + points[1, r, c] - u)
                closer = distance < nearest
                second = np.where(closer, nearest, np.minimum(second, distance))
                tone = np.where(closer, tones[r, c], tone)
                nearest = np.where(closer, distance, nearest)
        body = smoothstep(self.border * 0.3, self.border, (second - nearest).astype(np.float32))
        inside = 0.6 + tone * np.float32(self.variation)
        if self.domed:
            inside = inside + 0.25 - 0.6 * nearest
        outside = 0.95 if self.bright_border else 0.1
        return np.clip(inside * body + outside * (1.0 - body), 0.0, 1.0).astype(np.float32)
