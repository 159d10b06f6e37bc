"""Colour cast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, uniform
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class ColourCast(Look):
    """A factor per channel, or a part of the colour taken away.

    Attributes:
        factors: of red, green and blue.
        saturation: 1 keeps colours, 0 makes grey.
    """

    factors: tuple[float, float, float]
    saturation: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            factors=(uniform(rng, 0.75, 1.15), uniform(rng, 0.75, 1.15), uniform(rng, 0.75, 1.15)),
            saturation=uniform(rng, 0.3, 1.0),
        )

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        grey = image.mean(axis=2, keepdims=True)
        changed = (grey + (image - grey) * np.float32(self.saturation)) * np.asarray(self.factors, dtype=np.float32)
        return np.clip(changed, 0.0, 1.0).astype(np.float32)
