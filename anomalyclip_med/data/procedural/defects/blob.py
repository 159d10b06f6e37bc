"""Blobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region, Tint
from anomalyclip_med.data.procedural.family import Field, Image, chance, seed, uniform
from anomalyclip_med.data.procedural.fields import power_noise, smoothstep
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Blob(Defect):
    """A region brighter or darker than its surround, single or lobulated, with a halo or without.

    Attributes:
        region: where.
        tint: by how much.
        halo: strength of a halo of the opposite sign just outside, against the blob's.
        mottling: strength of noise inside.
        seed: of that noise.
    """

    region: Region
    tint: Tint
    halo: float
    mottling: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(
            region=Region.sample(rng, area, ragged=(0.02, 0.2)),
            tint=Tint.sample(rng),
            halo=uniform(rng, -0.5, 0.3) if chance(rng, 0.25) else 0.0,
            mottling=uniform(rng, 0.02, 0.15) if chance(rng, 0.4) else 0.0,
            seed=seed(rng),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        distance = self.region.distance(scene)
        alpha = self.region.cover(distance, scene)
        ring = smoothstep(1.5, 1.0, distance) * (1 - alpha) * scene.support
        image = self.tint.add(scene.image, alpha, alpha + ring * np.float32(self.halo))
        if self.mottling:
            noise = power_noise(self.seed, scene.size, 1.2, 6.0) * np.float32(self.mottling)
            image = np.clip(image + (alpha * noise)[..., None], 0.0, 1.0)
        return image, alpha
