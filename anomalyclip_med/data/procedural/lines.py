"""Curved lines: seeded random walks, and their antialiased rasterisation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from anomalyclip_med.data.procedural.family import Field

Line = NDArray[np.float64]
"""(points, 2) coordinates (y, x) in [-1, 1]."""

_SUPERSAMPLING = 3


def walk(
    rng: np.random.Generator, start: tuple[float, float], heading: float, length: float, bend: float, jag: float = 0.0
) -> Line:
    """A random walk from ``start``: ``bend`` is how much it turns over its length (radians), ``jag`` adds kinks."""
    steps = max(6, min(60, round(length * 40)))
    turns = np.cumsum(rng.normal(0.0, bend / np.sqrt(steps), steps)) + rng.normal(0.0, 1.0, steps) * jag
    headings = heading + turns
    moves = np.stack([np.sin(headings), np.cos(headings)], axis=1) * (length / steps)
    return np.concatenate([np.array([start]), np.array([start]) + np.cumsum(moves, axis=0)])


def branching(
    rng: np.random.Generator,
    start: tuple[float, float],
    heading: float,
    length: float,
    bend: float,
    jag: float,
    depth: int,
) -> list[tuple[Line, float]]:
    """A walk with branches that branch again; each line with its relative width (1 for the trunk)."""
    lines: list[tuple[Line, float]] = []
    open_ends = [(start, heading, length, 1.0, depth)]
    while open_ends:
        origin, direction, reach, width, left = open_ends.pop()
        line = walk(rng, origin, direction, reach, bend, jag)
        lines.append((line, width))
        if left > 0:
            for _ in range(int(rng.integers(1, 4))):
                at = int(rng.integers(len(line) // 4, len(line)))
                step = line[at] - line[at - 1]
                turned = float(np.arctan2(step[0], step[1]) + rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.2))
                branch_start = (float(line[at, 0]), float(line[at, 1]))
                open_ends.append((branch_start, turned, reach * float(rng.uniform(0.3, 0.6)), width * 0.7, left - 1))
    return lines


def rasterise(lines: Iterable[tuple[Line, float]], size: int) -> Field:
    """Coverage (size, size) in [0, 1] of lines with widths as fractions of the picture, at least 1.3 pixels."""
    scale = _SUPERSAMPLING * size
    canvas = PilImage.new("L", (scale, scale))
    draw = ImageDraw.Draw(canvas)
    for line, width in lines:
        pixels = (line[:, ::-1] + 1.0) * (scale / 2)
        draw.line(
            [(float(x), float(y)) for x, y in pixels], fill=255, width=max(4, round(width * scale)), joint="curve"
        )
    return np.asarray(canvas.reduce(_SUPERSAMPLING), dtype=np.float32) / np.float32(255.0)
