"""Warps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region
from anomalyclip_med.data.procedural.family import Field, Image, angle, choice, log_uniform, sign
from anomalyclip_med.data.procedural.fields import grid, mix, sample_at, smoothstep
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Warp(Defect):
    """A region swirled, bulged, pinched or sheared; the mask is the region, though its middle and edge move little.

    Attributes:
        region: where; only its area, place and raggedness matter.
        kind: "swirl", "bulge", "pinch" or "shear".
        strength: turn in radians (swirl) or share of the radius.
        angle: direction of the shear in radians.
    """

    areas = (0.005, 0.2)

    region: Region
    kind: str
    strength: float
    angle: float

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        kind = choice(rng, ("swirl", "bulge", "pinch", "shear"))
        strength = log_uniform(rng, 1.2, 4.0) * sign(rng) if kind == "swirl" else log_uniform(rng, 0.4, 0.8)
        return cls(region=Region.sample(rng, area, soft=0.2), kind=kind, strength=strength, angle=angle(rng))

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        y, x = grid(scene.size)
        distance = self.region.distance(scene)
        inside = smoothstep(1.05, 0.3, distance)
        centre = self.region.middle(scene)
        dy, dx = y - np.float32(centre[0]), x - np.float32(centre[1])
        if self.kind == "swirl":
            turn = inside * np.float32(self.strength)
            cos, sin = np.cos(turn), np.sin(turn)
            dy, dx = cos * dy - sin * dx, sin * dy + cos * dx
        elif self.kind == "shear":
            reach = np.float32(self.region.radius * self.strength)
            dy, dx = (
                dy + inside * reach * np.float32(np.sin(self.angle)),
                dx + inside * reach * np.float32(np.cos(self.angle)),
            )
        else:
            factor = 1 + inside * np.float32(self.strength if self.kind == "pinch" else -self.strength)
            dy, dx = dy * factor, dx * factor
        warped = sample_at(scene.image, dy + np.float32(centre[0]), dx + np.float32(centre[1]))
        return mix(scene.image, warped, scene.support), smoothstep(1.06, 0.94, distance) * scene.support
