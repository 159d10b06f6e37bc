"""Surfaces: a texture coloured by a palette."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.colour import Palette
from anomalyclip_med.data.procedural.family import Image, weighted
from anomalyclip_med.data.procedural.textures import TEXTURES, Texture


@dataclass(frozen=True)
class Surface:
    """A texture and the palette that colours it.

    Attributes:
        texture: tone over the picture.
        palette: tone to colour.
    """

    texture: Texture
    palette: Palette

    @classmethod
    def sample(cls, rng: np.random.Generator, weights: Mapping[str, float], grey: bool | None = None) -> Self:
        """Draw a texture by its weight and a palette; ``grey`` settles whether that is grey."""
        return cls(texture=TEXTURES[weighted(rng, weights)].sample(rng), palette=Palette.sample(rng, grey))

    def draw(self, size: int) -> Image:
        """Colours (size, size, 3)."""
        return self.palette.apply(self.texture.draw(size))
