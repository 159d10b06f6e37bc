"""Printed patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, chance, choice, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import rotated, smooth_noise, smoothstep
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Print(Texture):
    """A repeated mark: stripes, dots, checks, or made-up letters.

    Attributes:
        motif: "stripes", "dots", "checks" or "glyphs".
        repeats: marks across the picture.
        angle: direction in radians.
        duty: share of a mark in its cell.
        softness: width of its edge, in cells.
        slack: how far the cloth or paper is out of true, in cells.
        seed: of letters and slack.
    """

    motif: str
    repeats: float
    angle: float
    duty: float
    softness: float
    slack: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            motif=choice(rng, ("stripes", "dots", "checks", "glyphs")),
            repeats=log_uniform(rng, 4.0, 26.0),
            angle=angle(rng) if chance(rng, 0.6) else 0.0,
            duty=uniform(rng, 0.3, 0.7),
            softness=log_uniform(rng, 0.03, 0.3),
            slack=uniform(rng, 0.0, 0.3),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        across, along = rotated(size, self.angle)
        bend = smooth_noise(self.seed, size, 2.0) * np.float32(self.slack)
        v, u = across * np.float32(self.repeats / 2) + bend, along * np.float32(self.repeats / 2) + bend
        cell_v, cell_u = np.floor(v), np.floor(u)
        part_v, part_u = v - cell_v, u - cell_u
        low, high = self.duty / 2 - self.softness / 2, self.duty / 2 + self.softness / 2
        if self.motif == "stripes":
            return 1.0 - smoothstep(low, high, np.abs(part_v - 0.5))
        if self.motif == "dots":
            return 1.0 - smoothstep(low, high, np.hypot(part_v - 0.5, part_u - 0.5))
        if self.motif == "checks":
            wave = np.sin(np.pi * v) * np.sin(np.pi * u)
            return smoothstep(-self.softness, self.softness, wave.astype(np.float32))
        # Letters: a 5 x 5 matrix of random dots per cell, with a margin.
        letters = np.random.default_rng(self.seed).random((8, 8, 5, 5)) < 0.5
        inside = (np.abs(part_v - 0.5) < 0.4) & (np.abs(part_u - 0.5) < 0.35)
        dot_v = np.clip((part_v - 0.1) / 0.8 * 5, 0, 4).astype(np.int32)
        dot_u = np.clip((part_u - 0.15) / 0.7 * 5, 0, 4).astype(np.int32)
        ink = letters[cell_v.astype(np.int32) % 8, cell_u.astype(np.int32) % 8, dot_v, dot_u] & inside
        return np.where(ink, 1.0, 0.1).astype(np.float32)
