"""Data lists of a study: the sections that are learned from and measured on, and samples of them."""

from __future__ import annotations

import json
import math
import os
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

from anomalyclip_med.data.datasets import data_set, prepare
from anomalyclip_med.studies.config import Source
from anomalyclip_med.weights import file_sha256
from anomalyclip_med.writers.files import replaced

Entry = dict[str, Any]


def write_datalist(name: str, source: Source, data: Path, path: Path) -> None:
    """Write the data list of one source, with the sections ``training`` and ``test``.

    One that is there is kept while no file of the data set is newer: each image has to be read to make it. Which images
    are drawn and how they are divided depends on their names only, and on which are equal.

    Args:
        name: of the data set, unless the source has one.
        source: what to take.
        data: folder of all data sets.
        path: JSON to write.

    Raises:
        ConfigurationError: the data set is not there in any layout, or a section is missing.
    """
    made_from = source.model_dump(mode="json") | {"name": name, "data": str(data.resolve())}
    folder, masks = data / str(source.folder), data / source.masks if source.masks else None
    if path.exists() and json.loads(path.read_text(encoding="utf-8"))["made_from"] == made_from:
        made = path.stat().st_mtime
        if not any(_changed_since(made, place) for place in (folder, masks) if place):
            return
    content = prepare(source.dataset or name, folder, masks).datalist()
    content["training"], content["test"] = divide(content.get("training", []), content["test"], source)
    # An image's hash is in its entry; with these, the list is another one when a mask changes.
    listed = [entry["mask"] or [] for entry in content["training"] + content["test"]]
    files = {file for names in listed for file in ([names] if isinstance(names, str) else names)}
    content["masks_sha256"] = {file: file_sha256(folder / file) for file in sorted(files)}
    content["made_from"] = made_from
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _changed_since(moment: float, folder: Path) -> bool:
    """Whether a file was changed, or in any folder one added or taken away."""
    return any(
        place.exists() and place.stat().st_mtime > moment
        for name, _, files in os.walk(folder)
        for place in (Path(name), *(Path(name, file) for file in files))
    )


def divide(training: list[Entry], test: list[Entry], source: Source) -> tuple[list[Entry], list[Entry]]:
    """What is learned from and what is measured on.

    Args:
        training: entries of the data list.
        test: likewise.
        source: how to divide and how many to draw.
    """
    if source.split is not None:
        training, test = _split(test, source.split)
    elif source.learn_from == "test":
        training = test
    return _draw(training, source.images), _draw(test, source.images)


def expected_images(name: str, source: Source) -> tuple[int, int]:
    """About how many images are learned from and measured on, where all that the registry expects are there."""
    entry = data_set(source.dataset or name)
    counts = entry.expected[0].counts if entry.expected else {}
    test = counts.get("test", (0, 0))
    training = counts.get("training", (0, 0)) if source.learn_from == "training" else test
    first, second = 1.0, 1.0
    if source.split is not None:
        first, second = source.split, 1 - source.split
    most = math.inf if source.images is None else source.images * max(1, len(entry.objects))
    learned, measured = (
        sum(int(min(round(share * n), most)) for n in part) for share, part in ((first, training), (second, test))
    )
    return learned, measured


def _split(entries: list[Entry], share: float) -> tuple[list[Entry], list[Entry]]:
    """Two parts without a common group or image; classes, and groups with and without an anomaly, are in both."""
    groups = _by(entries, lambda e: (bool(e["group"]), e["group"] or e["sha256"]))
    kinds: dict[Any, list[list[Entry]]] = defaultdict(list)
    for members in groups.values():
        kinds[tuple(sorted({e["class"] for e in members})), max(e["label"] for e in members)].append(members)
    first: list[Entry] = []
    second: list[Entry] = []
    for kind in kinds.values():
        random.Random(0).shuffle(kind)
        cut = round(share * len(kind))
        first += [e for members in kind[:cut] for e in members]
        second += [e for members in kind[cut:] for e in members]
    return first, second


def _draw(entries: list[Entry], count: int | None) -> list[Entry]:
    """So many of each class and label, or all; by name."""
    drawn = []
    for kind in _by(entries, lambda e: (e["class"], e["label"])).values():
        kind = sorted(kind, key=lambda e: str(e["image"]))
        drawn += kind if count is None else random.Random(0).sample(kind, min(count, len(kind)))
    return sorted(drawn, key=lambda e: (e["class"], str(e["image"])))


def _by(entries: Sequence[Entry], key: Callable[[Entry], Hashable]) -> dict[Any, list[Entry]]:
    found: dict[Any, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[key(entry)].append(entry)
    return found
