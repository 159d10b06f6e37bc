"""Evaluation on labelled images: the entries of a data list as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.utils import ensure_tuple
from torch import Tensor

from anomalyclip_med.data.datalist import NO_CLASS, read_datalist
from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.errors import ScanError


def evaluation_items(datalist: str | Path, root: str | Path, section: str = "test") -> list[dict[str, Any]]:
    """Entries of a data list as items of a MONAI ``Dataset``: image and mask opened as scans of one slice.

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


def class_name(of_class: str) -> str:
    """What texts call a class of a data list; "" where the list does not tell it."""
    return "" if of_class == NO_CLASS else of_class


def with_class_names(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
    """A collated batch as MONAI's evaluator takes it, with the images' classes for texts that name them."""
    image, label = (batch[name].to(device=device, non_blocking=non_blocking) for name in ("image", "label"))
    return image, label, (), {"class_names": [class_name(c) for c in batch["class"]]}
