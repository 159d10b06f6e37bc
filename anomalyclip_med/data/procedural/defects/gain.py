"""Changed contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region
from anomalyclip_med.data.procedural.family import Field, Image, chance, log_uniform, uniform
from anomalyclip_med.data.procedural.fields import blur, mix
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Gain(Defect):
    """A region whose detail is stronger or weaker, or which is brighter or darker by a factor.

    Attributes:
        region: where.
        detail: factor on the detail.
        level: factor on the mean.
    """

    region: Region
    detail: float
    level: float

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(
            region=Region.sample(rng, area),
            detail=uniform(rng, 0.0, 0.4) if chance(rng, 0.5) else uniform(rng, 1.8, 3.5),
            level=log_uniform(rng, 0.55, 1.8),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        alpha = self.region.draw(scene)
        base = blur(scene.image, 0.05 * scene.size)
        changed = base * np.float32(self.level) + (scene.image - base) * np.float32(self.detail)
        return mix(scene.image, np.clip(changed, 0.0, 1.0).astype(np.float32), alpha), alpha
