"""Loss of texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region
from anomalyclip_med.data.procedural.family import Field, Image, log_uniform, uniform
from anomalyclip_med.data.procedural.fields import blur, mix
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Smoothing(Defect):
    """A region whose texture is blurred away.

    Attributes:
        region: where.
        sigma: of the blur, as a fraction of the picture.
        strength: how far, 1 for all.
    """

    region: Region
    sigma: float
    strength: float

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(region=Region.sample(rng, area), sigma=log_uniform(rng, 0.01, 0.06), strength=uniform(rng, 0.7, 1.0))

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        alpha = self.region.draw(scene)
        return mix(scene.image, blur(scene.image, self.sigma * scene.size), alpha * np.float32(self.strength)), alpha
