"""What a texture is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field


class Texture(ABC):
    """A tone over the whole picture: statistically the same everywhere, or changing smoothly."""

    @classmethod
    @abstractmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""

    @abstractmethod
    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
