"""Where the edges of a scan's slices lie in the patient."""

from __future__ import annotations

import numpy as np

from anomalyclip_med.data import Scan

_OBLIQUE = 0.4
"""Cosine from which an edge gets the letter of a second axis."""


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
