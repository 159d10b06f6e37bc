"""Layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, chance, integer, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import power_noise, rotated, smooth_noise
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Strata(Texture):
    """Layers of different thickness and tone that run across the picture, bent and grained: rock, plywood, laminates.

    Attributes:
        layers: layers across the picture.
        angle: direction in radians.
        bending: how far the layers bend, as a fraction of the half picture.
        softness: 0 is sharp steps between layers, 1 is smooth transitions.
        grain: strength of the grain, drawn out along the layers.
        seed: of tones, bending and grain.
    """

    layers: int
    angle: float
    bending: float
    softness: float
    grain: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            layers=integer(rng, 4, 24),
            angle=angle(rng) if chance(rng, 0.4) else uniform(rng, -0.2, 0.2),
            bending=uniform(rng, 0.0, 0.2),
            softness=uniform(rng, 0.0, 1.0),
            grain=log_uniform(rng, 0.02, 0.2),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        rng = np.random.default_rng(self.seed)
        across, _ = rotated(size, self.angle)
        depth = across + smooth_noise(self.seed, size, 1.5) * np.float32(self.bending)
        edges = np.sort(rng.uniform(-1.5, 1.5, self.layers))
        tones = rng.uniform(0.1, 0.9, self.layers)
        soft = np.interp(depth, edges, tones)
        hard = tones[np.clip(np.searchsorted(edges, depth), 0, self.layers - 1)]
        grain = power_noise(self.seed + 1, size, 1.0, 6.0, 4.0, self.angle) * np.float32(self.grain)
        return np.clip(self.softness * soft + (1.0 - self.softness) * hard + grain, 0.0, 1.0).astype(np.float32)
