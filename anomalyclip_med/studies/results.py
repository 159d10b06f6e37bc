"""Results of a study as one tidy table: a figure per row."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from anomalyclip_med.writers.files import replaced

MEAN = "mean"
"""The class under which the mean over a target's classes stands."""


@dataclass(frozen=True)
class Result:
    """One figure of one cell, or the failure of the cell.

    Attributes:
        study: its name.
        variant: its name in the study.
        method: of the variant.
        source: data sets that were learned from, in their order, joined by " > "; "none" for nothing.
        target: name in the profile of the data set that was measured on.
        dataset: its name in the registry.
        seed: of the random start and the order of the images; 0 where nothing is learned.
        class_name: class of the target; :data:`MEAN` for the mean over its classes.
        metric: its name; "" for a cell that failed.
        value: in [0, 1]; None where it is undefined, or the cell failed.
        images: that it was measured on.
        anomalous: of these.
        clip: backbone.
        clip_sha256: of its weights.
        trained: whether the backbone and what the variant learns have been trained.
        prompts_sha256: of the learned tensors; "" where nothing is learned.
        learned_from_sha256: of the data lists that were learned from, joined as the source; "" for drawn images.
        datalist_sha256: of the target's data list.
        package_version: of anomalyclip_med.
        cell: folder of the cell, which has everything else.
        error: why the cell failed; "" where it did not.
    """

    study: str
    variant: str
    method: str
    source: str
    target: str
    dataset: str
    seed: int
    class_name: str
    metric: str
    value: float | None
    images: int
    anomalous: int
    clip: str
    clip_sha256: str
    trained: bool
    prompts_sha256: str
    learned_from_sha256: str
    datalist_sha256: str
    package_version: str
    cell: str
    error: str


def write_results(results: Iterable[Result], path: Path) -> None:
    """Write CSV, a row per result, which replaces what was there when it is complete."""
    with replaced(path) as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        for result in results:
            row = asdict(result)
            writer.writerow(row | {"value": "" if result.value is None else repr(result.value)})
