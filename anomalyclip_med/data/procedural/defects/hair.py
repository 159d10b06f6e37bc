"""Hairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Tint, spot_on
from anomalyclip_med.data.procedural.family import Field, Image, angle, integer, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.lines import rasterise, walk
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Hair(Defect):
    """Thin curled lines that lie on the object: hairs, threads, lint.

    Attributes:
        place: in [0, 1), picks the start among the object's pixels.
        count: hairs.
        length: in half pictures.
        width: as a fraction of the picture.
        bend: how much a hair turns over its length, in radians.
        tint: of the hair.
        seed: of the courses.
    """

    areas = (0.0008, 0.012)

    place: float
    count: int
    length: float
    width: float
    bend: float
    tint: Tint
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        count, width = integer(rng, 1, 3), log_uniform(rng, 0.004, 0.008)
        return cls(
            place=rng.random(),
            count=count,
            length=min(max(2 * area / (width * count), 0.25), 1.8),
            width=width,
            bend=uniform(rng, 1.5, 6.0),
            tint=Tint.sample(rng, low=0.25, high=0.8, colourful=0.3),
            seed=seed(rng),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        rng = np.random.default_rng(self.seed)
        y, x = spot_on(scene.support, self.place)
        lines = []
        for _ in range(self.count):
            start = (y + float(rng.normal(0.0, 0.1)), x + float(rng.normal(0.0, 0.1)))
            lines.append((walk(rng, start, angle(rng), self.length, self.bend), self.width))
        alpha = rasterise(lines, scene.size) * scene.support
        return self.tint.add(scene.image, alpha), alpha
