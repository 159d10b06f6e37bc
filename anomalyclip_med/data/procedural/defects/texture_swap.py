"""Swapped texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region
from anomalyclip_med.data.procedural.family import Field, Image, choice
from anomalyclip_med.data.procedural.fields import mix
from anomalyclip_med.data.procedural.scene import Scene
from anomalyclip_med.data.procedural.textures import TEXTURES, Texture

_TEXTURES = tuple(name for name in TEXTURES if name not in ("tunnel", "fibres"))


@dataclass(frozen=True)
class TextureSwap(Defect):
    """A region with another texture at the same mean colour and the same contrast.

    Attributes:
        region: where.
        texture: the other one.
    """

    region: Region
    texture: Texture

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(region=Region.sample(rng, area), texture=TEXTURES[choice(rng, _TEXTURES)].sample(rng))

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        alpha = self.region.draw(scene)
        weight = alpha / (alpha.sum() + np.float32(1e-6))
        mean = np.einsum("ijc,ij->c", scene.image, weight)
        spread = np.sqrt(np.einsum("ijc,ij->c", np.square(scene.image - mean), weight))
        tone = self.texture.draw(scene.size)
        middle = (tone * weight).sum()
        tone = (tone - middle) / (np.sqrt((np.square(tone - middle) * weight).sum()) + np.float32(1e-3))
        other = mean + tone[..., None] * np.maximum(spread, np.float32(0.03))
        return mix(scene.image, np.clip(other, 0.0, 1.0).astype(np.float32), alpha), alpha
