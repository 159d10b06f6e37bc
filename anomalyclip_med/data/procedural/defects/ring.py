"""Rings and shells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region, Tint
from anomalyclip_med.data.procedural.family import Field, Image, chance, log_uniform, uniform
from anomalyclip_med.data.procedural.fields import smoothstep
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Ring(Defect):
    """A region with a rim that differs from its inside, both from the surround; the whole region is the mask.

    Attributes:
        region: where.
        width: of the rim, in radii.
        rim: tone of the rim.
        inside: tone of the inside.
        broken: share of the rim that is missing.
    """

    region: Region
    width: float
    rim: Tint
    inside: Tint
    broken: float

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(
            region=Region.sample(rng, area, ragged=(0.02, 0.2), soft=0.2),
            width=log_uniform(rng, 0.08, 0.4),
            rim=Tint.sample(rng, low=0.1),
            inside=Tint.sample(rng, low=0.06, high=0.35),
            broken=uniform(rng, 0.1, 0.5) if chance(rng, 0.25) else 0.0,
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        distance = self.region.distance(scene)
        alpha = self.region.cover(distance, scene)
        core = smoothstep(1 - self.width * 0.7, 1 - self.width * 1.3, distance) * scene.support
        rim = np.clip(alpha - core, 0.0, 1.0)
        if self.broken:
            # A straight cut on one side of the region takes its share of the rim away.
            rows, columns = np.nonzero(alpha > 0.5)
            if len(rows):
                along = np.arange(scene.size, dtype=np.float32) * 2 / scene.size - 1
                reach = np.float32(np.cos(self.region.angle)) * along[:, None]
                reach = reach + np.float32(np.sin(self.region.angle)) * along[None, :]
                cut = np.quantile(reach[rows, columns], 1 - self.broken)
                rim = rim * smoothstep(float(cut) + 0.05, float(cut) - 0.05, reach.astype(np.float32))
        image = self.inside.add(scene.image, core)
        return self.rim.add(image, rim), alpha
