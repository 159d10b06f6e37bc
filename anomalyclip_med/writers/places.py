"""Where a slice lies in its scan, and its edges in the patient."""

from __future__ import annotations

import numpy as np

from anomalyclip_med.data import Scan

_OBLIQUE = 0.4
"""Cosine from which an edge gets the letter of a second axis."""


def slice_place(frame: int | None, position: float | None, instance_number: int | None) -> str:
    """Frame, position in mm and number of a slice, as far as they are known."""
    parts = (
        "" if frame is None else f"frame {frame}",
        "" if position is None else f"{position:.1f} mm".replace("-", "\N{MINUS SIGN}"),
        "" if instance_number is None else f"InstanceNumber {instance_number}",
    )
    return " · ".join(filter(None, parts))


def edge_letters(scan: Scan) -> tuple[str, ...]:
    """Letters for the top, right, bottom and left edge, only where the file itself places its slices in a patient."""
    assumed = any(warning.startswith("missing-orientation") for warning in scan.warnings)
    if scan.format not in ("dicom", "nifti") or assumed or any(info.position is None for info in scan.slices):
        return ()
    directions = scan.slice_affine(0)[:3, :2]
    down, right = (directions / np.linalg.norm(directions, axis=0)).T
    return tuple(_letters(direction) for direction in (-down, right, down, -right))


def _letters(direction: np.ndarray) -> str:
    """Where a unit vector in RAS coordinates points to, main axis first: "A", "LP"."""
    order = np.argsort(-np.abs(direction))
    axes = [axis for axis in order if abs(direction[axis]) > _OBLIQUE]
    return "".join("RAS"[axis] if direction[axis] > 0 else "LPI"[axis] for axis in axes)
