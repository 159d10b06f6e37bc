"""What the shape of an object is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, chance, uniform
from anomalyclip_med.data.procedural.fields import rotated


@dataclass(frozen=True)
class Pose:
    """Where an object is.

    Attributes:
        centre: (y, x) in [-1, 1].
        radius: its reach in half pictures.
        aspect: its height over its width.
        angle: its turn in radians.
    """

    centre: tuple[float, float]
    radius: float
    aspect: float
    angle: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Anywhere near the middle, from a third of the picture to beyond its borders, upright half the time."""
        radius = uniform(rng, 0.45, 1.05)
        room = max(0.05, 0.9 - radius) * 0.7
        return cls(
            centre=(uniform(rng, -room, room), uniform(rng, -room, room)),
            radius=radius,
            aspect=uniform(rng, 0.65, 1.0),
            angle=0.0 if chance(rng, 0.5) else angle(rng),
        )

    def frame(self, size: int) -> tuple[Field, Field]:
        """Coordinates (v, u) of the object's own frame, in units of its radius, each (size, size)."""
        v, u = rotated(size, self.angle, self.centre)
        return v / np.float32(self.radius), u / np.float32(self.radius * self.aspect)


class Shape(ABC):
    """A closed outline, drawn as a shell coordinate: 0 in the middle, 1 on the outline, more outside.

    Level sets of the shell coordinate are the object's rims and inner shells.
    """

    field_of_view: ClassVar[bool] = False
    """The shape is a window on a scene (black around it) and not a thing that lies on a background."""

    pose: Pose

    @classmethod
    @abstractmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""

    @abstractmethod
    def shell(self, size: int) -> Field:
        """Shell coordinate (size, size), >= 0."""
