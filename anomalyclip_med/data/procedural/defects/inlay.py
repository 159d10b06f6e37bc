"""Foreign matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.defects.base import Defect, Region, Tint
from anomalyclip_med.data.procedural.family import Field, Image, choice, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import mix, power_noise
from anomalyclip_med.data.procedural.scene import Scene
from anomalyclip_med.data.procedural.textures import TEXTURES, Texture

_MATTER = ("fractal", "fractal", "gradient", "gradient", "bands", "marble", "grains", "drape")


@dataclass(frozen=True)
class Inlay(Defect):
    """A soft region of other matter: other texture, other contrast, other brightness, in the surround's own colours.

    Attributes:
        region: where.
        texture: of the matter.
        contrast: of its texture, as a standard deviation.
        tint: brightness and colour against the surround's mean.
        keep: how much of the surround's own texture shines through.
        lumps: strength of coarse variation of brightness inside.
        seed: of that variation.
    """

    region: Region
    texture: Texture
    contrast: float
    tint: Tint
    keep: float
    lumps: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for about ``area`` of the picture."""
        return cls(
            region=Region.sample(rng, area, soft=1.2),
            texture=TEXTURES[choice(rng, _MATTER)].sample(rng),
            contrast=log_uniform(rng, 0.01, 0.15),
            tint=Tint.sample(rng, low=0.03, high=0.4),
            keep=uniform(rng, 0.0, 0.6),
            lumps=uniform(rng, 0.0, 0.08),
            seed=seed(rng),
        )

    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) and coverage (size, size)."""
        alpha = self.region.draw(scene)
        weight = alpha / (alpha.sum() + np.float32(1e-6))
        mean = np.einsum("ijc,ij->c", scene.image, weight)
        tone = self.texture.draw(scene.size)
        tone = (tone - (tone * weight).sum()) / (tone.std() + np.float32(1e-6)) * np.float32(self.contrast)
        tone = tone + power_noise(self.seed, scene.size, 2.0, 3.0) * np.float32(self.lumps)
        matter = mean + tone[..., None] + self.tint.amount(scene.image, alpha)
        matter = matter + (scene.image - mean) * np.float32(self.keep)
        return mix(scene.image, np.clip(matter, 0.0, 1.0).astype(np.float32), alpha), alpha
