"""Pebbles: circles whose radius waves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from anomalyclip_med.data.procedural.family import Field, angle, integer, uniform
from anomalyclip_med.data.procedural.objects.base import Pose, Shape


@dataclass(frozen=True)
class Pebble(Shape):
    """A circle whose radius is perturbed by a few harmonics.

    Attributes:
        pose: where it is.
        amplitudes: of harmonics 2, 3, ...
        phases: of the same, in radians.
    """

    pose: Pose
    amplitudes: tuple[float, ...]
    phases: tuple[float, ...]

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        count, strength = integer(rng, 2, 6), uniform(rng, 0.03, 0.2)
        return cls(
            pose=Pose.sample(rng),
            amplitudes=tuple(float(rng.normal()) * strength / (k + 1) ** 0.7 for k in range(count)),
            phases=tuple(angle(rng) for _ in range(count)),
        )

    def shell(self, size: int) -> Field:
        """Shell coordinate (size, size): 1 on the outline."""
        v, u = self.pose.frame(size)
        turn = np.arctan2(v, u)
        outline = np.ones_like(turn)
        for k, (amplitude, phase) in enumerate(zip(self.amplitudes, self.phases, strict=True), start=2):
            outline += np.float32(amplitude) * np.cos(np.float32(k) * turn + np.float32(phase))
        return np.asarray(np.hypot(v, u) / np.maximum(outline, np.float32(0.4)), dtype=np.float32)
