"""Scan lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, chance, integer, uniform
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Scanlines(Look):
    """Rows darkened at a period, or every other row moved sideways, as by interlacing.

    Attributes:
        period: in rows of a picture 224 pixels high.
        darkening: of the rows.
        shift: of every other row, as a fraction of the picture.
    """

    period: int
    darkening: float
    shift: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        interlaced = chance(rng, 0.4)
        return cls(
            period=integer(rng, 2, 5),
            darkening=0.0 if interlaced else uniform(rng, 0.05, 0.3),
            shift=uniform(rng, 0.005, 0.012) if interlaced else 0.0,
        )

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        size = image.shape[0]
        changed = image.copy()
        if self.shift:
            pixels = max(1, round(self.shift * size))
            # The rows run off one border; the border pixel is repeated on the other.
            changed[1::2, pixels:] = image[1::2, :-pixels]
            changed[1::2, :pixels] = image[1::2, :1]
        rows = np.arange(size) * (224 / size) % self.period < 1
        changed[rows] *= np.float32(1 - self.darkening)
        return changed
