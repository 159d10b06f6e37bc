"""Decathlon-style data lists of images with masks and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anomalyclip_med.data.masks import MaskRule
from anomalyclip_med.errors import ConfigurationError

NO_CLASS = "all"
"""Of entries that do not tell their class."""


def read_datalist(path: str | Path, root: str | Path, section: str = "test") -> list[dict[str, Any]]:
    """Read one section of a data list, as ``anomalyclip-med datasets prepare`` writes it or written by hand.

    Args:
        path: JSON of ``{"test": [{"image": "a.png", "label": 1, "mask": "a_mask.png", "class": "brain"}, ...]}``.
            ``label`` is 0 for normal and 1 for anomalous. What may be absent or null: ``mask``, a file, or a list of
            files whose union is meant; ``class``, which groups the images whose metrics are taken together;
            ``defect``, the kind of anomaly; ``group``, what belongs together, such as a patient; ``mask_rule``, how
            masks become binary (:class:`~anomalyclip_med.data.masks.MaskRule`), which may also stand at the top for
            all entries.
        root: folder that ``image`` and ``mask`` are relative to.
        section: which list.

    Returns:
        Entries with ``image`` (Path), ``mask`` (Path, list of two or more Paths, or None), ``label`` (int), ``class``
        (`NO_CLASS` if absent), ``defect``, ``group`` and ``mask_rule`` (str, "" if absent).

    Raises:
        ConfigurationError: the file, the section, a key or a named file is missing, a label is not 0 or 1, or the mask
            rule is unknown.

    Examples:
        >>> Path("a.png").touch()
        >>> _ = Path("datalist.json").write_text('{"test": [{"image": "a.png", "label": 1, "class": "brain"}]}')
        >>> (entry,) = read_datalist("datalist.json", root=".")
        >>> entry["label"], entry["class"], entry["mask"], entry["group"]
        (1, 'brain', None, '')
    """
    path, root = Path(path).expanduser(), Path(root).expanduser()
    content = _read(path)
    entries = content.get(section)
    if not isinstance(entries, list) or not entries:
        raise ConfigurationError(f'{path}: no entries under "{section}"')
    items = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or "image" not in entry or entry.get("label") not in (0, 1):
            raise ConfigurationError(f'{path}: entry {number} needs an "image" and a "label" of 0 or 1')
        names = entry.get("mask") or []
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not all(isinstance(name, str) for name in (entry["image"], *names)):
            raise ConfigurationError(f"{path}: entry {number} names its files by something else than text")
        masks = [root / name for name in names]
        for file in (root / entry["image"], *masks):
            if not file.is_file():
                raise ConfigurationError(f"{path}: entry {number} names {file}, which does not exist")
        rule = entry.get("mask_rule") or content.get("mask_rule") or ""
        if rule and rule not in list(MaskRule):
            known = ", ".join(MaskRule)
            raise ConfigurationError(f'{path}: entry {number} has the mask rule "{rule}", known are {known}')
        items.append(
            {
                "image": root / entry["image"],
                "mask": masks if len(masks) > 1 else masks[0] if masks else None,
                "label": int(entry["label"]),
                "class": _text(entry, "class", NO_CLASS),
                "defect": _text(entry, "defect"),
                "group": _text(entry, "group"),
                "mask_rule": str(rule),
            }
        )
    return items


def datalist_name(path: str | Path) -> str | None:
    """The data set's name in the registry, which stands at the top of a prepared data list; None without one.

    Raises:
        ConfigurationError: the file cannot be read.

    Examples:
        >>> _ = Path("datalist.json").write_text('{"name": "brainmri", "test": []}')
        >>> datalist_name("datalist.json")
        'brainmri'
    """
    name = _read(Path(path).expanduser()).get("name")
    return name if isinstance(name, str) else None


def _text(entry: dict[str, Any], key: str, absent: str = "") -> str:
    """What an entry says, which may be a number: the patient 0 is one, too."""
    value = entry.get(key)
    return absent if value is None or value == "" else str(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: not a readable data list ({error})") from None
    return content if isinstance(content, dict) else {}
