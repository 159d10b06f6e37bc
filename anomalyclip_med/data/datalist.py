"""Decathlon-style data lists of images with masks and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anomalyclip_med.errors import ConfigurationError


def read_datalist(path: str | Path, root: str | Path, section: str = "test") -> list[dict[str, Any]]:
    """Read one section of a data list.

    Args:
        path: JSON of ``{"test": [{"image": "a.png", "label": 1, "mask": "a_mask.png", "class": "brain"}, ...]}``.
            ``label`` is 0 for normal and 1 for anomalous; ``mask`` may be absent or null; ``class`` groups the images
            whose metrics are taken together and may be absent.
        root: folder that ``image`` and ``mask`` are relative to.
        section: which list.

    Returns:
        Entries with ``image`` (Path), ``mask`` (Path or None), ``label`` (int) and ``class`` (str).

    Raises:
        ConfigurationError: the file, the section, a key or a named file is missing, or a label is not 0 or 1.
    """
    path, root = Path(path).expanduser(), Path(root).expanduser()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: not a readable data list ({error})") from None
    entries = content.get(section) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigurationError(f'{path}: no entries under "{section}"')
    items = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or "image" not in entry or entry.get("label") not in (0, 1):
            raise ConfigurationError(f'{path}: entry {number} needs an "image" and a "label" of 0 or 1')
        mask = root / entry["mask"] if entry.get("mask") else None
        item = {"image": root / entry["image"], "mask": mask, "label": int(entry["label"])}
        for file in filter(None, (item["image"], mask)):
            if not file.is_file():
                raise ConfigurationError(f"{path}: entry {number} names {file}, which does not exist")
        items.append({**item, "class": str(entry.get("class", "all"))})
    return items
