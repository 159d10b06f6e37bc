"""Rounded polygons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, integer, log_uniform, uniform
from anomalyclip_med.data.procedural.objects.base import Pose, Shape


@dataclass(frozen=True)
class Polygon(Shape):
    """A convex polygon with rounded corners.

    Attributes:
        pose: where it is.
        normals: direction of each side's normal in radians.
        distances: distance of each side from the middle, in radii.
        roundness: power of the norm that rounds the corners; larger is sharper.
    """

    pose: Pose
    normals: tuple[float, ...]
    distances: tuple[float, ...]
    roundness: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        sides, first, slack = integer(rng, 3, 8), angle(rng), uniform(rng, 0.0, 0.5)
        return cls(
            pose=Pose.sample(rng),
            normals=tuple(
                first + (k + slack * float(rng.uniform(-0.5, 0.5))) * 2 * np.pi / sides for k in range(sides)
            ),
            distances=tuple(uniform(rng, 0.75, 1.0) for _ in range(sides)),
            roundness=log_uniform(rng, 5.0, 30.0),
        )

    def shell(self, size: int) -> Field:
        """Shell coordinate (size, size): 1 on the outline."""
        v, u = self.pose.frame(size)
        total = np.zeros_like(v)
        for normal, distance in zip(self.normals, self.distances, strict=True):
            reach = (np.float32(np.sin(normal)) * v + np.float32(np.cos(normal)) * u) / np.float32(distance)
            total += np.power(np.maximum(reach, 0.0), np.float32(self.roundness))
        return np.power(total, np.float32(1 / self.roundness))
