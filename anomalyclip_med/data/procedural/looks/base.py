"""What a look is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Image


class Look(ABC):
    """What a camera, file format or display does to a finished picture, flawed or not; harmless, keeps the mask."""

    @classmethod
    @abstractmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""

    @abstractmethod
    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then, in [0, 1]."""
