"""What a defect is, and the regions that most defects fill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy import ndimage

from anomalyclip_med.data.procedural.family import (
    Field,
    Image,
    angle,
    chance,
    integer,
    log_uniform,
    seed,
    sign,
    uniform,
)
from anomalyclip_med.data.procedural.fields import power_noise, rotated, smoothstep
from anomalyclip_med.data.procedural.scene import Scene

SUPPORT_SHARE = 0.6
"""A defect covers at most this share of the object, so that what is normal stays in view."""


class Defect(ABC):
    """A change to a part of a scene.

    ``apply`` returns the changed picture and the coverage alpha of the change: where alpha > 0.5 *and* the support is
    > 0.5 is the mask.
    """

    areas: ClassVar[tuple[float, float]] = (0.002, 0.3)
    """Areas of the mask, as fractions of the picture, in which this family makes sense."""

    @classmethod
    @abstractmethod
    def sample(cls, rng: np.random.Generator, area: float) -> Self:
        """Draw parameters for a defect of about ``area`` (fraction of the picture)."""

    @abstractmethod
    def apply(self, scene: Scene) -> tuple[Image, Field]:
        """Changed picture (size, size, 3) in [0, 1] and coverage (size, size) in [0, 1]."""


def spot_on(support: Field, place: float, reach: float = 0.0) -> tuple[float, float]:
    """A point (y, x) in [-1, 1] on the support; ``place`` in [0, 1) picks it among its pixels.

    With a ``reach`` (half pictures) only among those that are about so far from the support's and the picture's border,
    or as far as it can be.
    """
    if reach:
        width = max(1, round(reach * support.shape[0]) | 1)  # twice the reach, in pixels
        depth = ndimage.uniform_filter(support, width, mode="constant")
        support = (depth >= min(0.97, float(depth.max()) * 0.98)).astype(np.float32) * (support > 0.95)
    inside = np.flatnonzero(support > 0.95)
    if not len(inside):
        return (0.0, 0.0)
    size = support.shape[0]
    row, column = divmod(int(inside[int(place * len(inside))]), size)
    return ((row + 0.5) / size * 2 - 1, (column + 0.5) / size * 2 - 1)


def _threshold_for(distance: Field, support: Field, area: float) -> float:
    """The level of ``distance`` below which the support holds ``area`` (fraction of the picture, at least a pixel)."""
    inside = distance[support > 0.5]
    if not len(inside):
        return 1.0
    wanted = min(area * distance.size, SUPPORT_SHARE * len(inside))
    return float(np.partition(inside, int(min(max(wanted, 1.0), len(inside) - 1)))[int(max(wanted, 1.0)) - 1]) + 1e-6


@dataclass(frozen=True)
class Region:
    """A roundish region on the object.

    Attributes:
        area: fraction of the picture.
        place: in [0, 1), picks the middle among the object's pixels.
        inset: how far the middle keeps from borders, in radii.
        aspect: its height over its width.
        angle: in radians.
        lobes: (dy, dx, radius) of further discs whose union with the first is the region, in radii.
        ragged: strength of the noise on the outline.
        roughness: exponent of that noise; smaller is rougher.
        softness: width of the edge, in radii.
        seed: of the noise.
    """

    area: float
    place: float
    inset: float
    aspect: float
    angle: float
    lobes: tuple[tuple[float, float, float], ...]
    ragged: float
    roughness: float
    softness: float
    seed: int

    @classmethod
    def sample(
        cls, rng: np.random.Generator, area: float, ragged: tuple[float, float] = (0.02, 0.3), soft: float = 1.0
    ) -> Self:
        """Draw parameters: single or lobulated, smooth to ragged, sharp to ``soft``."""
        count = integer(rng, 1, 4) if chance(rng, 0.3) else 0
        lobes = []
        for _ in range(count):
            turn, far = angle(rng), uniform(rng, 0.5, 1.1)
            lobes.append((far * float(np.sin(turn)), far * float(np.cos(turn)), uniform(rng, 0.4, 0.9)))
        return cls(
            area=area,
            place=rng.random(),
            inset=uniform(rng, 0.5, 1.0) if chance(rng, 0.7) else 0.0,
            aspect=log_uniform(rng, 0.45, 1.0),
            angle=angle(rng),
            lobes=tuple(lobes),
            ragged=log_uniform(rng, *ragged),
            roughness=uniform(rng, 1.3, 3.0),
            softness=log_uniform(rng, 0.03, soft) if chance(rng, 0.4) else uniform(rng, 0.1, soft),
            seed=seed(rng),
        )

    @property
    def radius(self) -> float:
        """Radius in half pictures of a disc of the same area."""
        return float(2.0 * np.sqrt(self.area / np.pi))

    def middle(self, scene: Scene) -> tuple[float, float]:
        """Its middle (y, x) in [-1, 1]."""
        return spot_on(scene.support, self.place, self.inset * self.radius)

    def distance(self, scene: Scene) -> Field:
        """Shell coordinate (size, size): 0 in the middle, 1 on the outline."""
        size = scene.size
        radius = np.float32(self.radius)
        v, u = rotated(size, self.angle, self.middle(scene))
        v, u = v / (radius * np.float32(np.sqrt(self.aspect))), u * np.float32(np.sqrt(self.aspect)) / radius
        distance = np.hypot(v, u)
        for dy, dx, reach in self.lobes:
            distance = np.minimum(distance, np.hypot(v - np.float32(dy), u - np.float32(dx)) / np.float32(reach))
        # The noise has structures of the region's own size and finer, and leaves the middle alone.
        waves = 1.0 / max(2.0 * float(radius), 0.02)
        noise = power_noise(self.seed, size, self.roughness, waves)
        distance = distance * np.exp(noise * np.float32(self.ragged))
        return np.asarray(distance / np.float32(_threshold_for(distance, scene.support, self.area)), dtype=np.float32)

    def cover(self, distance: Field, scene: Scene) -> Field:
        """Coverage (size, size) of a shell coordinate: 0.5 on the outline, fading over the softness; on the object."""
        # A pixel is the least an edge can be wide.
        softness = max(self.softness, 2.0 / scene.size / self.radius)
        return smoothstep(1 + softness / 2, max(1 - softness / 2, 0.0), distance) * scene.support

    def draw(self, scene: Scene) -> Field:
        """Coverage (size, size) in [0, 1]."""
        return self.cover(self.distance(scene), scene)


@dataclass(frozen=True)
class Tint:
    """A change of brightness and colour.

    Attributes:
        shift: of the brightness, signed, from barely visible to stark.
        colour: shift of red, green and blue beside it; zero for a change that keeps the hue.
    """

    shift: float
    colour: tuple[float, float, float]

    @classmethod
    def sample(cls, rng: np.random.Generator, low: float = 0.035, high: float = 0.55, colourful: float = 0.35) -> Self:
        """Draw parameters: brighter or darker, as likely; coloured with a probability of ``colourful``."""
        shift = sign(rng) * log_uniform(rng, low, high)
        colour = (0.0, 0.0, 0.0)
        if chance(rng, colourful):
            strength = log_uniform(rng, 0.03, 0.3)
            raw = rng.normal(size=3)
            # Reddish is common in stains of all kinds: rust, burns, dyes.
            raw = np.array([1.0, -0.6, -0.5]) + 0.4 * raw if chance(rng, 0.4) else raw
            raw = (raw - raw.mean()) / (np.abs(raw - raw.mean()).max() + 1e-6) * strength
            colour = (float(raw[0]), float(raw[1]), float(raw[2]))
        return cls(shift=shift, colour=colour)

    def amount(self, image: Image, alpha: Field) -> Image:
        """What to add per pixel, (3,): away from black or white where there would be no room for the shift."""
        weight = float(alpha.sum()) + 1e-6
        mean = float((image.mean(axis=2) * alpha).sum()) / weight
        shift = self.shift
        room = 1.0 - mean if shift > 0 else mean
        if room < 0.8 * abs(shift) and room < 0.5:
            shift = -shift
        return np.asarray(shift, dtype=np.float32) + np.asarray(self.colour, dtype=np.float32)

    def add(self, image: Image, alpha: Field, strength: Field | None = None) -> Image:
        """The picture with the change laid on with ``strength`` (``alpha`` where not given)."""
        by = alpha if strength is None else strength
        return np.clip(image + by[..., None] * self.amount(image, alpha), 0.0, 1.0).astype(np.float32)
