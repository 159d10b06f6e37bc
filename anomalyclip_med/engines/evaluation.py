"""Evaluation on labelled images: the entries of a data list as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.utils import ensure_tuple

from anomalyclip_med.data.datalist import read_datalist
from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.errors import ScanError


def evaluation_items(datalist: str | Path, root: str | Path, section: str = "test") -> list[dict[str, Any]]:
    """Entries of a data list as items of a MONAI ``Dataset``: image and mask opened as scans of one slice.

    Args:
        datalist: see :func:`anomalyclip_med.data.datalist.read_datalist`.
        root: folder that its paths are relative to.
        section: which list.

    Returns:
        The entries with a scan under ``image``, a list of scans or None under ``mask``, and ``name`` and ``slice``.

    Raises:
        ConfigurationError: the data list is wrong.
        ScanError: an image or a mask is not a readable 2-D image, or a mask has another size than its image.
    """
    items = []
    for entry in read_datalist(datalist, root, section):
        image = open_picture(entry["image"])
        masks = [open_picture(path) for path in ensure_tuple(entry["mask"] or ())]
        for mask in masks:
            if mask.shape != image.shape:
                raise ScanError(f"{mask.source}: {mask.shape[:2]} pixels, but its image has {image.shape[:2]}")
        items.append({**entry, "name": str(entry["image"]), "image": image, "mask": masks or None, "slice": 0})
    return items
