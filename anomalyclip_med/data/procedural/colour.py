"""Palettes: how a tone in [0, 1] becomes a colour."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, Image, chance, log_uniform, uniform

Colour = tuple[float, float, float]

_GREY_SHARE = 0.5
_WARM_SHARE = 0.28


def _hue_colour(hue: float, saturation: float, value: float) -> Colour:
    """RGB of a hue (turns, wrapped), saturation and value in [0, 1]."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return (red, green, blue)


@dataclass(frozen=True)
class Palette:
    """Two or three colours at equal distances along the tone, mixed linearly."""

    stops: tuple[Colour, ...]

    @classmethod
    def sample(cls, rng: np.random.Generator, grey: bool | None = None) -> Self:
        """Grey half the time, else reddish-brown or any hue; contrast from faint to full."""
        centre = uniform(rng, 0.15, 0.85)
        half = log_uniform(rng, 0.03, 0.4)
        levels = [min(max(centre - half, 0.02), 0.98), min(max(centre + half, 0.02), 0.98)]
        if chance(rng, 0.3):
            levels.insert(1, uniform(rng, *sorted(levels)))
        if chance(rng, 0.5):
            levels.reverse()
        kind = rng.random()
        if chance(rng, _GREY_SHARE) if grey is None else grey:
            return cls(tuple((level, level, level) for level in levels))
        warm = kind < _WARM_SHARE / (1.0 - _GREY_SHARE)
        hue = uniform(rng, -0.04, 0.11) if warm else rng.random()
        wander = uniform(rng, 0.0, 0.05) if warm else log_uniform(rng, 0.01, 0.3)
        saturation = uniform(rng, 0.15, 0.8)
        # Value is lifted with the level, so that saturated colours are not only dark ones.
        return cls(
            tuple(
                _hue_colour(hue + float(rng.normal()) * wander, saturation * uniform(rng, 0.6, 1.2), level**0.8)
                for level in levels
            )
        )

    @property
    def is_grey(self) -> bool:
        """Whether every colour is a grey."""
        return all(max(stop) - min(stop) < 1e-6 for stop in self.stops)

    def apply(self, tone: Field) -> Image:
        """Colours (size, size, 3) of a tone (size, size) in [0, 1]."""
        colours = np.asarray(self.stops, dtype=np.float32)
        scaled = tone * np.float32(len(colours) - 1)
        image = colours[0] + np.clip(scaled, 0.0, 1.0)[..., None] * (colours[1] - colours[0])
        for index in range(1, len(colours) - 1):
            image += np.clip(scaled - np.float32(index), 0.0, 1.0)[..., None] * (colours[index + 1] - colours[index])
        return np.asarray(image, dtype=np.float32)
