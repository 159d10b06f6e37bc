"""Stains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region, Tint
from anomalyclip_med.data.procedural.family import Field, Image, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import power_noise, unit
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Stain(Defect):
    """An irregular, tinted, translucent spot whose strength varies inside, with a darker edge at times.

    Attributes:
        region: where.
        tint: by how much.
        cloudiness: how far the strength varies inside, 0 to 1.
        edging: strength of the edge, as left by a drop that dried.
        seed: of the variation.
    """

    region: Region
    tint: Tint
    cloudiness: float
    edging: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(
            region=Region.sample(rng, area, ragged=(0.1, 0.6)),
            tint=Tint.sample(rng, low=log_uniform(rng, 0.06, 0.12), colourful=0.7),
            cloudiness=uniform(rng, 0.1, 0.8),
            edging=max(0.0, uniform(rng, -0.6, 0.6)),
            seed=seed(rng),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        distance = self.region.distance(scene)
        alpha = self.region.cover(distance, scene)
        clouds = 1.0 - np.float32(self.cloudiness) * unit(power_noise(self.seed, scene.size, 1.8, 4.0))
        edge = np.exp(-np.square((distance - np.float32(0.92)) / np.float32(0.08))) * np.float32(self.edging)
        return self.tint.add(scene.image, alpha, alpha * (clouds + edge)), alpha
