"""Evaluation on labelled images: the entries of a data list as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomalyclip_med.data import find_scans
from anomalyclip_med.data.datalist import read_datalist
from anomalyclip_med.errors import ScanError


def evaluation_items(datalist: str | Path, root: str | Path, section: str = "test") -> list[dict[str, Any]]:
    """Entries of a data list as items of a MONAI ``Dataset``: image and mask opened as scans of one slice.

    Raises:
        ConfigurationError: the data list is wrong.
        ScanError: an image or a mask is not a readable 2-D image, or a mask has another size than its image.
    """
    items = []
    for entry in read_datalist(datalist, root, section):
        image, mask = _picture(entry["image"]), entry["mask"] and _picture(entry["mask"])
        if mask and mask.shape != image.shape:
            raise ScanError(f"{mask.source}: {mask.shape[:2]} pixels, but its image has {image.shape[:2]}")
        items.append({**entry, "name": str(entry["image"]), "image": image, "mask": mask, "slice": 0})
    return items


def _picture(path: Path) -> Any:
    scans, skipped = find_scans([path])
    if len(scans) != 1 or len(scans[0].slices) != 1:
        reason = skipped[0].reason if skipped else f"{sum(len(s.slices) for s in scans)} slices"
        raise ScanError(f"{path}: not a 2-D image: {reason}")
    return scans[0]
