"""Portholes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, log_uniform, uniform
from anomalyclip_med.data.procedural.objects.base import Pose, Shape


@dataclass(frozen=True)
class Porthole(Shape):
    """A round or nearly square window that takes up most of the picture: the view through a tube or a mask.

    Attributes:
        pose: where it is.
        power: of the norm; 2 is round.
        cut: the window is cut off above and below this height, in radii.
    """

    field_of_view = True

    pose: Pose
    power: float
    cut: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            pose=Pose(
                centre=(uniform(rng, -0.1, 0.1), uniform(rng, -0.1, 0.1)),
                radius=uniform(rng, 0.8, 1.15),
                aspect=uniform(rng, 0.9, 1.1),
                angle=0.0,
            ),
            power=log_uniform(rng, 2.0, 12.0),
            cut=uniform(rng, 0.75, 1.2),
        )

    def shell(self, size: int) -> Field:
        """Shell coordinate (size, size): 1 on the outline."""
        v, u = self.pose.frame(size)
        power = np.float32(self.power)
        window = np.power(np.power(np.abs(v), power) + np.power(np.abs(u), power), 1 / power)
        return np.maximum(window, np.abs(v) / np.float32(self.cut))
