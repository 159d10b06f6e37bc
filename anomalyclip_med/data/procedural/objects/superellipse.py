"""Superellipses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, log_uniform
from anomalyclip_med.data.procedural.objects.base import Pose, Shape


@dataclass(frozen=True)
class Superellipse(Shape):
    """An ellipse at ``power`` 2, a pillow or a bar with rounded corners above, a star below.

    Attributes:
        pose: where it is.
        power: of the norm.
    """

    pose: Pose
    power: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(pose=Pose.sample(rng), power=log_uniform(rng, 1.5, 8.0))

    def shell(self, size: int) -> Field:
        """Shell coordinate (size, size): 1 on the outline."""
        v, u = self.pose.frame(size)
        power = np.float32(self.power)
        return np.power(np.power(np.abs(v), power) + np.power(np.abs(u), power), 1 / power)
