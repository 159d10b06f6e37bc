"""Harmless structure inside an object: spots in mirrored pairs, spokes, a lattice of knobs, a cross of seams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from anomalyclip_med.data.procedural.family import Field, choice, integer, log_uniform, seed, sign, uniform
from anomalyclip_med.data.procedural.fields import smoothstep

_MOTIFS = ("none", "pairs", "pairs", "spokes", "lattice", "seams")


@dataclass(frozen=True)
class Interior:
    """Regular structure in an object's own frame; regular, so that it does not look like a flaw.

    Attributes:
        motif: "none", "pairs" (spots, the same left and right), "spokes", "lattice" (knobs) or "seams" (axes).
        count: pairs, spokes, or knobs across.
        thickness: of spots, spokes, knobs and seams, in radii of the object.
        softness: width of their edges, relative to their thickness.
        tone: what they add to the tone, in [-1, 1].
        seed: of the spots' places.
    """

    motif: str
    count: int
    thickness: float
    softness: float
    tone: float
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Self:
        """Draw parameters."""
        return cls(
            motif=choice(rng, _MOTIFS),
            count=integer(rng, 2, 7),
            thickness=log_uniform(rng, 0.03, 0.2),
            softness=uniform(rng, 0.1, 0.9),
            tone=sign(rng) * log_uniform(rng, 0.04, 0.4),
            seed=seed(rng),
        )

    def draw(self, v: Field, u: Field) -> Field:
        """What to add to the tone, in the object's frame ``v``, ``u`` (size, size)."""
        if self.motif == "none":
            return np.zeros_like(v)
        inner, outer = 1.0 - self.softness / 2, 1.0 + self.softness / 2
        if self.motif == "pairs":
            rng = np.random.default_rng(self.seed)
            distance: NDArray[np.floating] = np.full_like(v, 9.0)
            for _ in range(self.count):
                centre, reach = rng.uniform((-0.7, 0.12), (0.7, 0.65)), self.thickness * rng.uniform(0.5, 1.5)
                stretch, lean = rng.uniform(0.4, 1.6), rng.uniform(-1.0, 1.0)
                dv, du = v - np.float32(centre[0]), np.abs(u) - np.float32(centre[1])
                spot = np.hypot(dv * np.float32(stretch) + du * np.float32(lean), du) / np.float32(reach)
                distance = np.minimum(distance, spot)
        elif self.motif == "spokes":
            turn = np.arctan2(v, u) * np.float32(self.count / 2)
            distance = np.abs(np.sin(turn)) * np.hypot(v, u) / np.float32(self.thickness * self.count / 4)
        elif self.motif == "lattice":
            waves = np.float32(np.pi * self.count / 2)
            distance = np.hypot(np.sin(waves * v), np.sin(waves * u)) / np.float32(0.3 + self.thickness * 2)
        else:
            distance = np.minimum(np.abs(u), np.abs(v) + (4.0 if self.count % 2 else 0.0)) / np.float32(
                self.thickness / 2
            )
        return smoothstep(outer, inner, distance.astype(np.float32)) * np.float32(self.tone)
