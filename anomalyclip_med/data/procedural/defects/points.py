"""Points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Tint, spot_on
from anomalyclip_med.data.procedural.family import Field, Image, chance, integer, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import grid, smoothstep
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Points(Defect):
    """Small dots, single or in a cluster: pits, specks, grit.

    Attributes:
        place: in [0, 1), picks the middle among the object's pixels.
        count: dots.
        radius: of a dot in half pictures.
        spread: of the cluster in half pictures.
        softness: of a dot's edge, in radii.
        tint: of the dots.
        seed: of their places.
    """

    areas = (0.0005, 0.005)

    place: float
    count: int
    radius: float
    spread: float
    softness: float
    tint: Tint
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        count = integer(rng, 3, 14) if chance(rng, 0.6) else 1
        return cls(
            place=rng.random(),
            count=count,
            radius=max(2 * float(np.sqrt(area / np.pi / count)), 0.012),
            spread=log_uniform(rng, 0.08, 0.35),
            softness=uniform(rng, 0.2, 1.0),
            tint=Tint.sample(rng, low=0.15, high=0.6, colourful=0.3),
            seed=seed(rng),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        rng = np.random.default_rng(self.seed)
        y, x = grid(scene.size)
        middle = spot_on(scene.support, self.place)
        alpha = np.zeros_like(scene.support)
        radius = max(self.radius, 1.5 / scene.size)
        for index in range(self.count):
            off = rng.normal(0.0, self.spread, 2) if index else np.zeros(2)
            reach = radius * float(rng.uniform(0.6, 1.3))
            distance = np.hypot(y - np.float32(middle[0] + off[0]), x - np.float32(middle[1] + off[1])) / np.float32(
                reach
            )
            alpha = np.maximum(alpha, smoothstep(1 + self.softness / 2, 1 - self.softness / 2, distance))
        alpha = alpha * scene.support
        return self.tint.add(scene.image, alpha), alpha
