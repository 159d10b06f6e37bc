"""JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image as PilImage

from anomalyclip_med.data.procedural.family import Image, integer
from anomalyclip_med.data.procedural.looks.base import Look


@dataclass(frozen=True)
class Jpeg(Look):
    """Compressed and decompressed.

    Attributes:
        quality: JPEG quality, 0 to 100.
    """

    quality: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(quality=integer(rng, 15, 85))

    def apply(self, image: Image) -> Image:
        """The picture (size, size, 3) as it looks then."""
        buffer = io.BytesIO()
        PilImage.fromarray(np.round(image * 255).astype(np.uint8)).save(buffer, "JPEG", quality=self.quality)
        return np.asarray(PilImage.open(buffer).convert("RGB"), dtype=np.float32) / np.float32(255)
