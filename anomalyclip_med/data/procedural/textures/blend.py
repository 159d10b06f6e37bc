"""Two textures in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, choice, log_uniform, seed, uniform
from anomalyclip_med.data.procedural.fields import smooth_noise, smoothstep
from anomalyclip_med.data.procedural.textures.bands import Bands
from anomalyclip_med.data.procedural.textures.base import Texture
from anomalyclip_med.data.procedural.textures.drape import Drape
from anomalyclip_med.data.procedural.textures.fractal import Fractal
from anomalyclip_med.data.procedural.textures.gradient import Gradient
from anomalyclip_med.data.procedural.textures.grains import Grains
from anomalyclip_med.data.procedural.textures.marble import Marble

_PARTS: tuple[type[Texture], ...] = (Fractal, Bands, Gradient, Grains, Marble, Drape)


@dataclass(frozen=True)
class Blend(Texture):
    """Two textures that pass into each other everywhere in the picture, so that no one place stands out.

    Attributes:
        first: one texture.
        second: the other.
        frequency: changes from one to the other across the picture.
        softness: width of the transition, in standard deviations of the field that decides.
        seed: of that field.
    """

    first: Texture
    second: Texture
    frequency: float
    softness: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            first=choice(rng, _PARTS).sample(rng),
            second=choice(rng, _PARTS).sample(rng),
            frequency=log_uniform(rng, 4.0, 12.0),
            softness=uniform(rng, 0.5, 2.0),
            seed=seed(rng),
        )

    def draw(self, size: int) -> Field:
        """Tone (size, size) in [0, 1]."""
        share = smoothstep(-self.softness, self.softness, smooth_noise(self.seed, size, self.frequency))
        return self.first.draw(size) * (1.0 - share) + self.second.draw(size) * share
