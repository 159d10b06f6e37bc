"""Low contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, uniform
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class LowContrast(Look):
    """The tones are squeezed into a part of the range.

    Attributes:
        span: width of that part.
        foot: its lower end.
    """

    span: float
    foot: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        span = uniform(rng, 0.4, 0.85)
        return cls(span=span, foot=uniform(rng, 0.0, 1.0 - span))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        return image * np.float32(self.span) + np.float32(self.foot)
