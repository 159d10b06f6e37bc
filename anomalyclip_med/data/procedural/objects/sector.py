"""Sectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, uniform
from anomalyclip_med.data.procedural.objects.base import Pose, Shape


@dataclass(frozen=True)
class Sector(Shape):
    """A fan: the view of a sweeping sensor whose apex lies at or above the upper border.

    Attributes:
        pose: apex (as centre) and reach (as radius).
        half_angle: half of the opening, in radians.
        inner: distance from the apex at which the view begins, in radii.
    """

    field_of_view = True

    pose: Pose
    half_angle: float
    inner: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        apex = uniform(rng, -1.9, -0.9)
        inner = max(0.0, -1.0 - apex) + uniform(rng, 0.0, 0.25)
        reach = uniform(rng, 0.7, 1.05) - apex
        return cls(
            pose=Pose(centre=(apex, uniform(rng, -0.1, 0.1)), radius=reach, aspect=1.0, angle=0.0),
            half_angle=uniform(rng, 0.35, 0.8),
            inner=inner / reach,
        )

    def shell(self, size: int) -> Field:
        """Shell coordinate (size, size): 1 on the outline."""
        v, u = self.pose.frame(size)
        radius, turn = np.hypot(v, u), np.abs(np.arctan2(u, v)) / np.float32(self.half_angle)
        middle, half = (1 + self.inner) / 2, (1 - self.inner) / 2
        return np.maximum(turn, np.abs(radius - np.float32(middle)) / np.float32(half))
