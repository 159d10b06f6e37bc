"""Missing parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region
from anomalyclip_med.data.procedural.family import Field, Image, chance, uniform
from anomalyclip_med.data.procedural.fields import blur, mix
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Missing(Defect):
    """A hole, or a bite out of the object's border: what lies behind shows.

    Attributes:
        region: where; a bite has its middle on the border.
        bite: at the border, where the object has one in the picture.
        depth: tone of what lies behind on a picture without background.
        shade: strength of the shadow along the edge.
    """

    areas = (0.001, 0.12)

    region: Region
    bite: bool
    depth: float
    shade: float

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(
            region=Region.sample(rng, area, soft=0.12),
            bite=chance(rng, 0.5),
            depth=uniform(rng, 0.0, 0.15) if chance(rng, 0.7) else uniform(rng, 0.85, 1.0),
            shade=uniform(rng, 0.0, 0.6),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        size, whole = scene.size, bool(scene.support.min() > 0.5)
        region, placed = self.region, scene
        if self.bite and not whole:
            # Only a thin band along the border is offered as a place for the middle.
            band = scene.support * (blur(scene.support, 0.02 * size) < 0.8)
            if (band > 0.95).any():
                region = replace(region, inset=0.0)
                offered = np.where(band > 0.95, 1.0, 0.9 * scene.support).astype(np.float32)
                placed = Scene(scene.image, offered, scene.background)
        alpha = region.draw(placed)
        alpha = np.minimum(alpha, scene.support)
        behind = np.full_like(scene.image, self.depth) if whole else scene.background
        shadow = 1 - np.float32(self.shade) * blur(1 - alpha, 0.01 * size)
        return mix(scene.image, behind * shadow[..., None], alpha), alpha
