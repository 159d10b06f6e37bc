"""AnomalyCLIP's own format, ``meta.json``: written for its code, read from its users."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from anomalyclip_med.data.datasets.pairing import without_mask
from anomalyclip_med.data.datasets.samples import Listing, Sample, note, relative
from anomalyclip_med.errors import ConfigurationError

_SECTIONS = {"train": "training", "test": "test"}
_GOOD = "good"


def content(samples: Sequence[Sample], root: Path) -> dict[str, Any]:
    """Samples in AnomalyCLIP's format; validation goes to training, as it knows no third section.

    Raises:
        ConfigurationError: an image has several masks.
    """
    result: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in _SECTIONS}
    for sample in samples:
        if len(sample.masks) > 1:
            raise ConfigurationError(
                f"{sample.image}: has {len(sample.masks)} masks, and meta.json has room for one; use the data list"
            )
        mask = sample.masks[0] if sample.masks and sample.label else None
        section = result["test" if sample.section == "test" else "train"]
        section.setdefault(sample.object, []).append(
            {
                "img_path": relative(sample.image, root),
                "mask_path": relative(mask, root) if mask else "",
                "cls_name": sample.object,
                "specie_name": sample.defect if sample.label else _GOOD,
                "anomaly": sample.label,
            }
        )
    return result


def read(path: Path) -> Listing:
    """Read a ``meta.json``; paths are relative to its folder, or absolute ones of another machine with the same end.

    Raises:
        ConfigurationError: it is no such file, or names files that do not exist.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        sections = {name.lower(): classes for name, classes in data.items()}  # DAGM's are written "Train" and "Test"
        rows = [
            (_SECTIONS[name], row) for name in _SECTIONS for rows in sections.get(name, {}).values() for row in rows
        ]
        listing, moved = Listing(), []
        for section, row in rows:
            image = _locate(path, row["img_path"])
            anomalous = int(row["anomaly"])
            masks = (_locate(path, row["mask_path"]),) if row["mask_path"] and anomalous else ()
            if PurePosixPath(row["img_path"]).is_absolute():
                moved.append(image)
            defect = str(row["specie_name"]) if anomalous else ""
            listing.samples.append(Sample(image, anomalous, str(row["cls_name"]), masks, section, defect))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f'{path}: not a meta.json of {{"train": {{CLASS: [...]}}, "test": ...}} ({type(error).__name__}: {error})'
        ) from None
    if not listing.samples:
        raise ConfigurationError(f"{path}: lists no images")
    if moved:
        listing.problems.append(note("absolute-path", "listed by absolute paths, found below this folder", moved))
    if any(s.masks for s in listing.samples):
        listing.problems += without_mask([s.image for s in listing.samples if s.label and not s.masks])
    return listing


def _locate(path: Path, name: str) -> Path:
    """A file by its path below the folder of the ``meta.json``, or by as much of its end as leads to one."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..")]
    for start in range(len(parts) if name.startswith("/") else 1):
        found = path.parent.joinpath(*parts[start:])
        if found.is_file():
            return found
    raise ConfigurationError(f"{path}: names {name}, which is not below {path.parent}")
