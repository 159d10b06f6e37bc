"""Patches from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region, spot_on
from anomalyclip_med.data.procedural.family import Field, Image, angle, chance, choice, uniform
from anomalyclip_med.data.procedural.fields import mix, rotated, sample_at
from anomalyclip_med.data.procedural.scene import Scene
from anomalyclip_med.data.procedural.surface import Surface
from anomalyclip_med.data.procedural.textures import TEXTURES

_WEIGHTS = dict.fromkeys(TEXTURES, 1.0)


@dataclass(frozen=True)
class Paste(Defect):
    """A patch of the same picture, turned and scaled, or of another surface, blended in.

    Attributes:
        region: where.
        source: in [0, 1), picks the patch's origin among the object's pixels.
        turn: of the patch, in radians.
        zoom: of the patch.
        surface: the other surface; None takes the picture itself.
        opacity: of the patch.
    """

    region: Region
    source: float
    turn: float
    zoom: float
    surface: Surface | None
    opacity: float

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(
            region=Region.sample(rng, area, soft=0.4),
            source=rng.random(),
            turn=angle(rng),
            zoom=choice(rng, (0.5, 0.7, 1.0, 1.5, 2.0)),
            surface=Surface.sample(rng, _WEIGHTS) if chance(rng, 0.4) else None,
            opacity=uniform(rng, 0.5, 1.0),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        alpha = self.region.draw(scene)
        if self.surface is not None:
            patch = self.surface.draw(scene.size)
        else:
            here, there = self.region.middle(scene), spot_on(scene.support, self.source)
            v, u = rotated(scene.size, self.turn, here)
            # Read where the object is only: the background is blurred over with the object's mean colour first.
            inside = scene.support[..., None]
            mean = (scene.image * inside).sum(axis=(0, 1)) / (inside.sum() + np.float32(1e-6))
            filled = scene.image * inside + mean * (1 - inside)
            patch = sample_at(
                filled.astype(np.float32), v * np.float32(self.zoom) + there[0], u * np.float32(self.zoom) + there[1]
            )
        return mix(scene.image, patch, alpha * np.float32(self.opacity)), alpha
