"""Mirrored outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, integer, uniform
from anomalyclip_med.data.procedural.objects.base import Pose, Shape


@dataclass(frozen=True)
class Mirrored(Shape):
    """A circle perturbed by harmonics that are even about its long axis: left and right are the same.

    Attributes:
        pose: where it is.
        amplitudes: of harmonics 1, 2, ...
        notch: depth of the waist or notch on the axis, in radii.
    """

    pose: Pose
    amplitudes: tuple[float, ...]
    notch: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        count, strength = integer(rng, 2, 7), uniform(rng, 0.04, 0.2)
        return cls(
            pose=Pose.sample(rng),
            amplitudes=tuple(float(rng.normal()) * strength / (k + 1) ** 0.6 for k in range(count)),
            notch=uniform(rng, 0.0, 0.12),
        )

    def shell(self, size: int) -> Field:
        """Shell coordinate (size, size): 1 on the outline."""
        v, u = self.pose.frame(size)
        turn = np.arctan2(np.abs(u), v)  # the long axis is v
        outline = np.ones_like(turn)
        for k, amplitude in enumerate(self.amplitudes, start=1):
            outline += np.float32(amplitude) * np.cos(np.float32(k) * turn)
        outline -= np.float32(self.notch) * np.exp(-np.square(np.sin(turn) / np.float32(0.12)))
        return np.asarray(np.hypot(v, u) / np.maximum(outline, np.float32(0.4)), dtype=np.float32)
