"""Blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image, log_uniform
from anomalyclip_med.data.procedural.fields import blur
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Defocus(Look):
    """The whole picture is out of focus.

    Attributes:
        sigma: of the blur, as a fraction of the picture; 0.4 pixels at least.
    """

    sigma: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(sigma=log_uniform(rng, 0.002, 0.008))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        return np.clip(blur(image, max(self.sigma * image.shape[0], 0.4)), 0.0, 1.0)
