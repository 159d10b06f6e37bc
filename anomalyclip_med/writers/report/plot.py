"""The curve of scores over slices, as the paths of an SVG drawing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

_DOTS = 120
"""Up to so many slices, each one has its dot."""


def plot_paths(scores: Sequence[float | None], empty: Sequence[bool]) -> dict[str, str]:
    """Draw scores in a box that is as wide as the distance from the first slice to the last and 1 high.

    The scale is always [0, 1]. The lines are to be drawn with `vector-effect="non-scaling-stroke"`; a dot is a line
    of no length with round ends.

    Args:
        scores: of each slice, None where there is none.
        empty: whether a slice scores 0 only because it is empty.

    Returns:
        Paths: ``line`` broken at missing scores, ``dots``, and ticks at the bottom for ``empty`` and ``failed`` slices.
    """
    runs = [list(run) for known, run in groupby(enumerate(scores), lambda pair: pair[1] is not None) if known]
    points = [[f"{index},{1 - (score or 0):.4f}" for index, score in run] for run in runs]
    alone = [run for run in points if len(run) == 1]
    dotted = points if len(scores) <= _DOTS else alone
    return {
        "line": "".join(f"M{'L'.join(run)}" for run in points),
        "dots": "".join(f"M{point}h0" for run in dotted for point in run),
        "empty": _ticks([index for index, value in enumerate(empty) if value]),
        "failed": _ticks([index for index, score in enumerate(scores) if score is None]),
    }


def _ticks(slices: Sequence[int]) -> str:
    return "".join(f"M{index},1v-0.1" for index in slices)
