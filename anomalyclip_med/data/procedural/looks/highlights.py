"""Highlights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, integer, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import grid, smooth_noise, smoothstep
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Highlights(Look):
    """Small saturated reflections of a lamp on a shiny, uneven surface; several, never one alone.

    Attributes:
        count: places where the lamp is reflected.
        radius: of such a place, in half pictures.
        level: how bright, 1 is white.
        seed: of places and unevenness.
    """

    count: int
    radius: float
    level: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            count=integer(rng, 3, 10),
            radius=log_uniform(rng, 0.02, 0.07),
            level=uniform(rng, 0.85, 1.0),
            seed=seed(rng),
        )

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        size = image.shape[0]
        rng = np.random.default_rng(self.seed)
        y, x = grid(size)
        bumps = smooth_noise(self.seed, size, 0.5 / self.radius) * np.float32(0.35)
        distance = np.full_like(bumps, 9.0)
        for _ in range(self.count):
            centre, reach = rng.uniform(-0.85, 0.85, 2), self.radius * rng.uniform(0.4, 1.0)
            spot = np.hypot(y - np.float32(centre[0]), x - np.float32(centre[1])) / np.float32(reach)
            distance = np.minimum(distance, spot)
        glint = smoothstep(1.0, 0.5, distance + bumps)
        # A lamp is only reflected where it shines: nothing shines on the black around an object.
        glint = glint * smoothstep(0.03, 0.12, image.max(axis=2))
        return np.clip(image + (np.float32(self.level) - image) * glint[..., None], 0.0, 1.0).astype(np.float32)
