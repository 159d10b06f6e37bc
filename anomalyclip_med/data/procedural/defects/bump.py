"""Bumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region, Tint
from anomalyclip_med.data.procedural.family import Field, Image, angle, chance, log_uniform, uniform
from anomalyclip_med.data.procedural.fields import blur, relief, shifted, smoothstep
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Bump(Defect):
    """A raised or sunken dome, shaded by slanted light, with a highlight and a cast shadow at times.

    Attributes:
        region: where.
        height: of the dome over its radius; negative is a dent.
        light: direction the light comes from, in radians.
        highlight: strength of the highlight.
        shadow: strength of the shadow beside it.
        tint: its own colour.
    """

    region: Region
    height: float
    light: float
    highlight: float
    shadow: float
    tint: Tint

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(
            region=Region.sample(rng, area, ragged=(0.02, 0.15), soft=0.3),
            height=log_uniform(rng, 0.25, 1.2) * (1.0 if chance(rng, 0.8) else -1.0),
            light=angle(rng),
            highlight=uniform(rng, 0.1, 0.9) if chance(rng, 0.5) else 0.0,
            shadow=uniform(rng, 0.1, 0.5) if chance(rng, 0.5) else 0.0,
            tint=Tint.sample(rng, low=0.01, high=0.25, colourful=0.6),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        size = scene.size
        distance = self.region.distance(scene)
        alpha = self.region.cover(distance, scene)
        radius = self.region.radius
        dome = np.sqrt(np.maximum(1.0 - np.square(np.minimum(distance, 1.0)), 0.0)) * np.float32(self.height * radius)
        dome = blur(dome.astype(np.float32), 0.06 * radius * size)
        flat = np.float32(np.sin(0.8))
        shade = relief(dome, self.light) / flat
        image = self.tint.add(scene.image, alpha)
        if self.shadow:
            away = 0.15 * radius * size
            down, right = -round(away * np.sin(self.light)), -round(away * np.cos(self.light))
            cast = shifted(smoothstep(1.1, 0.7, distance), down, right) * (1 - alpha) * scene.support
            image = image * (1 - np.float32(self.shadow) * cast)[..., None]
        image = image * (1 + (shade - 1) * alpha)[..., None]
        if self.highlight:
            glint = np.power(np.clip(relief(dome, self.light, 1.0), 0.0, 1.0), np.float32(40.0)) * alpha
            glint = glint * (np.abs(shade - 1) > 0.02)
            image = image + (1.0 - image) * (np.float32(self.highlight) * glint)[..., None]
        return np.clip(image, 0.0, 1.0).astype(np.float32), alpha
