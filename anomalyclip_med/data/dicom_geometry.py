"""From the frames' headers to one grid in the patient: order, time points, affine (PS3.3 C.7.6.2).

DICOM's patient axes are LPS, the affines here are RAS. The array's axes are (column, row, slice[, time]).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalyclip_med.data.dicom_header import FrameHeader, Instance

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_SAME_POSITION_MM = 1e-3
# Coordinates are often written with two decimals, so a smaller deviation is rounding.
_REGULAR_MM = 0.01
_REGULAR_SHARE = 0.01
_TILT_DEGREES = 0.1
_CROSS_SECTIONAL = {"CT", "MR", "PT", "NM"}


@dataclass(frozen=True)
class Source:
    """One frame of one file, before ordering."""

    instance: Instance
    frame: FrameHeader


@dataclass(frozen=True)
class Stack:
    """Frames on a grid.

    Attributes:
        sources: the frames in slice order, all positions of the first time point first.
        positions: each frame's own ImagePositionPatient along the normal in mm, None where unknown.
        times: number of time points.
        affine: (4, 4) float64, (column, row, slice) to RAS mm.
        regular: every frame lies where the affine says, and slices are not sheared against each other.
        located: the affine comes from the patient's coordinates.
        warnings: what is doubtful, in words.
    """

    sources: tuple[Source, ...]
    positions: tuple[float | None, ...]
    times: int
    affine: np.ndarray
    regular: bool
    located: bool
    warnings: tuple[str, ...]


def stack(sources: Sequence[Source]) -> Stack:
    """Order frames of one orientation, size and spacing, and give them an affine.

    Frames are ordered by their position along the normal. Where a position is missing, all are ordered by
    InstanceNumber and file name, with a warning. Where each position occurs equally often, the repetitions
    are time points.

    The third column of the affine is the vector from the first to the last position, divided by the number of
    steps: for a tilted gantry it is not along the normal, and for irregular spacing the affine is right at
    both ends of the stack, while `positions` are right everywhere.

    Args:
        sources: frames, at least one, in any order.
    """
    warnings: list[str] = []
    frame = sources[0].frame
    spacing = frame.spacing
    if spacing is None:
        warnings.append("missing-pixel-spacing: the pixel size is unknown, 1 mm is assumed")
        spacing = (1.0, 1.0)
    along_row, along_column = _axes(frame)
    normal = np.cross(along_row, along_column)
    known = [s.frame.position is not None and s.frame.orientation is not None for s in sources]
    positions = [
        float(np.asarray(s.frame.position) @ normal) if ok else None for s, ok in zip(sources, known, strict=True)
    ]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * spacing[1], along_column * spacing[0]
    located, regular, times = all(known), True, 1
    if located:
        corners = np.array([s.frame.position for s in sources])
        order, times, repeated = _order_by_position(sources, corners @ normal)
        corners = corners[order[: len(order) // times]]
        affine[:3, 3] = corners[0]
        step, regular, spacing_warnings = _step(corners, normal, frame.step)
        affine[:3, 2] = step
        warnings += repeated + spacing_warnings
        if times == 1 and repeated:
            regular = False
    else:
        order = sorted(range(len(sources)), key=lambda i: _file_order(sources[i]))
        affine[:3, 2] = normal * (frame.step or 1.0)
        of_one_file = len({s.instance.path for s in sources}) == 1
        if sources[0].instance.modality in _CROSS_SECTIONAL or not of_one_file:
            warnings.append(
                "missing-position: not every slice has a position in the patient, "
                "the order is by InstanceNumber, the distance between slices is assumed"
            )
    affine[:3] *= _LPS_TO_RAS[:, np.newaxis]
    return Stack(
        sources=tuple(sources[i] for i in order),
        positions=tuple(positions[i] for i in order),
        times=times,
        affine=affine,
        regular=regular,
        located=located,
        warnings=tuple(warnings),
    )


def _axes(frame: FrameHeader) -> tuple[np.ndarray, np.ndarray]:
    if frame.orientation is None:
        return np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    return np.array(frame.orientation[0]), np.array(frame.orientation[1])


def _file_order(source: Source) -> tuple[bool, int, str, int]:
    number = source.instance.number
    return number is None, number or 0, str(source.instance.path), source.frame.number


def _order_by_position(sources: Sequence[Source], depth: np.ndarray) -> tuple[list[int], int, list[str]]:
    """Return the order, the number of time points and a warning where positions repeat."""
    by_depth = np.argsort(depth, kind="stable")
    new = np.diff(depth[by_depth], prepend=-np.inf) > _SAME_POSITION_MM
    place = np.empty(len(sources), dtype=int)
    place[by_depth] = np.cumsum(new) - 1
    order = sorted(range(len(sources)), key=lambda i: (place[i], sources[i].instance.time, _file_order(sources[i])))
    counts = np.bincount(place)
    if counts.max() == 1:
        return order, 1, []
    if counts.min() == counts.max():
        times = int(counts[0])
        by_time = [order[p * times + t] for t in range(times) for p in range(len(counts))]
        warning = f"repeated-positions: each position occurs {times} times, read as time points by InstanceNumber"
        return by_time, times, [warning]
    return (
        order,
        1,
        ["repeated-positions: some positions occur more often than others, ordered by InstanceNumber"],
    )


def _step(corners: np.ndarray, normal: np.ndarray, claimed: float | None) -> tuple[np.ndarray, bool, list[str]]:
    """Return the vector from slice to slice in LPS mm, whether it fits all of them, and warnings."""
    if len(corners) == 1:
        return normal * (claimed or 1.0), True, []
    steps = len(corners) - 1
    step = (corners[-1] - corners[0]) / steps
    warnings = []
    fitted = corners[0] + np.arange(steps + 1)[:, np.newaxis] * step
    deviation = np.linalg.norm(corners - fitted, axis=1).max()
    regular = bool(deviation <= max(_REGULAR_MM, _REGULAR_SHARE * np.linalg.norm(step)))
    if not regular:
        gaps = np.diff(corners @ normal)
        warnings.append(
            f"irregular-spacing: slice gaps run from {gaps.min():.2f} to {gaps.max():.2f} mm, "
            f"slices lie up to {deviation:.2f} mm from where the affine puts them"
        )
    tilt = np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1.0, 1.0)))
    if tilt > _TILT_DEGREES:
        regular = False
        warnings.append(f"gantry-tilt: slices are stacked at {tilt:.1f} degrees to their normal, the affine is sheared")
    return step, regular, warnings
