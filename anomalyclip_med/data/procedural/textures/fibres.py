"""Lines all over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, chance, integer, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import blur, power_noise
from anomalyclip_med.data.procedural.lines import branching, rasterise, walk
from anomalyclip_med.data.procedural.textures.base import Texture


@dataclass(frozen=True)
class Fibres(Texture):
    """Many curved lines that cover the whole picture, branching or not: felt, paper, roots.

    Attributes:
        count: lines (before branching).
        branching: lines branch.
        aligned: lines keep to one direction.
        angle: that direction in radians.
        bend: how much a line turns over its length, in radians.
        width: of a line, as a fraction of the picture.
        ground: strength of the noise between the lines.
        seed: of the lines.
    """

    count: int
    branching: bool
    aligned: bool
    angle: float
    bend: float
    width: float
    ground: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        branches = chance(rng, 0.4)
        return cls(
            count=integer(rng, 20, 45) if branches else integer(rng, 40, 130),
            branching=branches,
            aligned=chance(rng, 0.3),
            angle=angle(rng),
            bend=uniform(rng, 0.3, 2.5),
            width=log_uniform(rng, 0.004, 0.02),
            ground=uniform(rng, 0.0, 0.2),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        rng = np.random.default_rng(self.seed)
        drawn = []
        for _ in range(self.count):
            start = (float(rng.uniform(-1.2, 1.2)), float(rng.uniform(-1.2, 1.2)))
            heading = self.angle + float(rng.normal(0.0, 0.2)) if self.aligned else angle(rng)
            if self.branching:
                lines = branching(rng, start, heading, 1.4, self.bend, 0.05, 2)
            else:
                lines = [(walk(rng, start, heading, float(rng.uniform(0.3, 1.6)), self.bend), 1.0)]
            drawn += [(line, width * self.width) for line, width in lines]
        coverage = blur(rasterise(drawn, size), 0.002 * size)
        noise = power_noise(self.seed, size, 1.5, 2.0) * np.float32(self.ground)
        return np.clip(0.25 + noise + 0.6 * coverage, 0.0, 1.0).astype(np.float32)
