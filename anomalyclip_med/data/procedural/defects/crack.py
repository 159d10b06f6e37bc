"""Cracks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Tint, spot_on
from anomalyclip_med.data.procedural.family import Field, Image, angle, integer, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import blur, shifted
from anomalyclip_med.data.procedural.lines import branching, rasterise
from anomalyclip_med.data.procedural.scene import Scene


@dataclass(frozen=True)
class Crack(Defect):
    """A jagged line that branches, with a brighter lip beside it at times.

    Attributes:
        place: in [0, 1), picks the start among the object's pixels.
        length: of the trunk in half pictures.
        width: of the trunk as a fraction of the picture.
        depth: generations of branches.
        jag: strength of its kinks in radians.
        lip: strength of the lip, against the crack's tone.
        tint: of the crack.
        seed: of its course.
    """

    areas = (0.0008, 0.03)

    place: float
    length: float
    width: float
    depth: int
    jag: float
    lip: float
    tint: Tint
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        depth = integer(rng, 0, 2)
        # Branches lengthen the crack about twofold per generation.
        width = log_uniform(rng, 0.005, 0.02)
        length = min(max(2 * area / (width * (1 + depth)), 0.15), 1.5)
        return cls(
            place=rng.random(),
            length=length,
            width=min(max(2 * area / (length * (1 + depth)), 0.005), 0.03),
            depth=depth,
            jag=uniform(rng, 0.15, 0.6),
            lip=max(0.0, uniform(rng, -0.4, 0.4)),
            tint=Tint.sample(rng, low=0.15, high=0.7, colourful=0.2),
            seed=seed(rng),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        rng = np.random.default_rng(self.seed)
        heading = angle(rng)
        lines = branching(rng, spot_on(scene.support, self.place), heading, self.length, 0.6, self.jag, self.depth)
        alpha = rasterise([(line, width * self.width) for line, width in lines], scene.size) * scene.support
        strength = alpha
        if self.lip:
            away = max(1, round(self.width * scene.size))
            beside = blur(shifted(alpha, away, away) * (1 - alpha), 0.5) * scene.support
            strength = alpha - beside * np.float32(self.lip)
        return self.tint.add(scene.image, alpha, strength), alpha
