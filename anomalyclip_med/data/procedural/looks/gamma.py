"""Gamma."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, log_uniform
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Gamma(Look):
    """A power of the tone.

    Attributes:
        exponent: below 1 brightens, above 1 darkens.
    """

    exponent: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(exponent=log_uniform(rng, 0.55, 1.8))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        return np.power(image, np.float32(self.exponent))
