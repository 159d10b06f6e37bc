"""Resampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image as PilImage

from anomalyclip_med.data.procedural.family import Image, chance, uniform
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Resample(Look):
    """Recorded with fewer pixels and enlarged.

    Attributes:
        factor: pixels per side kept.
        blocky: enlarged by repeating pixels instead of interpolating.
    """

    factor: float
    blocky: bool

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(factor=uniform(rng, 0.35, 0.8), blocky=chance(rng, 0.2))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        size = image.shape[0]
        small, back = max(16, round(size * self.factor)), PilImage.Resampling.BICUBIC
        if self.blocky:
            back = PilImage.Resampling.NEAREST
        picture = PilImage.fromarray(np.round(image * 255).astype(np.uint8))
        picture = picture.resize((small, small), PilImage.Resampling.BOX).resize((size, size), back)
        return np.asarray(picture, dtype=np.float32) / np.float32(255)
