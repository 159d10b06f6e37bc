"""Scratches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Tint, spot_on
from anomalyclip_med.data.procedural.family import Field, Image, angle, chance, integer, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import blur
from anomalyclip_med.data.procedural.lines import rasterise, walk
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Scratch(Defect):
    """Nearly straight lines, single or several side by side.

    Attributes:
        place: in [0, 1), picks the middle among the object's pixels.
        count: lines.
        length: in half pictures.
        width: as a fraction of the picture.
        bend: how much a line turns over its length, in radians.
        blurring: of the line, in widths.
        tint: of the line.
        seed: of the courses.
    """

    areas = (0.0005, 0.02)

    place: float
    count: int
    length: float
    width: float
    bend: float
    blurring: float
    tint: Tint
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        count = integer(rng, 2, 6) if chance(rng, 0.3) else 1
        width = log_uniform(rng, 0.004, 0.014)
        # length (half pictures) / 2 * width * count = area, within what a picture holds.
        length = min(max(2 * area / (width * count), 0.12), 1.6)
        return cls(
            place=rng.random(),
            count=count,
            length=length,
            width=min(max(2 * area / (length * count), 0.004), 0.03),
            bend=log_uniform(rng, 0.05, 0.8),
            blurring=uniform(rng, 0.0, 0.4),
            tint=Tint.sample(rng, low=0.15, high=0.7, colourful=0.2),
            seed=seed(rng),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        rng = np.random.default_rng(self.seed)
        y, x = spot_on(scene.support, self.place)
        heading = angle(rng)
        lines = []
        for _ in range(self.count):
            turn = heading + float(rng.normal(0.0, 0.08))
            start = (
                y - np.sin(turn) * self.length / 2 + float(rng.normal(0.0, 0.05)) * (self.count > 1),
                x - np.cos(turn) * self.length / 2 + float(rng.normal(0.0, 0.05)) * (self.count > 1),
            )
            lines.append((walk(rng, start, turn, self.length, self.bend), self.width))
        coverage = rasterise(lines, scene.size)
        alpha = np.maximum(coverage, blur(coverage, self.blurring * self.width * scene.size)) * scene.support
        return self.tint.add(scene.image, alpha), alpha
