"""Woven threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import rotated, smooth_noise
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Weave(Texture):
    """Two sets of threads that pass over and under each other.

    Attributes:
        threads: threads across the picture.
        angle: direction in radians.
        gap: dark share between threads.
        waviness: how far the threads wander, in threads.
        contrast: tone of the second set against the first.
        seed: of the wandering.
    """

    threads: float
    angle: float
    gap: float
    waviness: float
    contrast: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            threads=log_uniform(rng, 8.0, 40.0),
            angle=angle(rng),
            gap=uniform(rng, 0.0, 0.25),
            waviness=uniform(rng, 0.0, 0.5),
            contrast=uniform(rng, 0.0, 0.4),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        across, along = rotated(size, self.angle)
        shift = smooth_noise(self.seed, size, 3.0) * np.float32(self.waviness)
        u, v = across * np.float32(self.threads / 2) + shift, along * np.float32(self.threads / 2) - shift
        warp, weft = np.abs(np.sin(np.pi * u)), np.abs(np.sin(np.pi * v))
        over = (np.floor(u) + np.floor(v)) % 2 < 1
        tone = np.where(over, warp * (0.6 + 0.4 * weft), weft * (0.6 + 0.4 * warp) * (1.0 - self.contrast))
        return np.clip((tone - self.gap) / (1.0 - self.gap), 0.0, 1.0).astype(np.float32)
