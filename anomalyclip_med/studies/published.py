"""Published figures of AnomalyCLIP and the methods it is compared with, each with its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class PublishedFigure:
    """One figure as it was published.

    Attributes:
        dataset: the registry's name of the data set.
        method: "anomalyclip", "clip", "clip_ac", "winclip", "coop" or "vand".
        trained_on: data set of the training, "none" for methods without.
        metric: "image_auroc", "image_ap", "pixel_auroc" or "pixel_aupro", the last one by the authors' 200 thresholds.
        percent: the figure.
        source: table or log that it stands in.
    """

    dataset: str
    method: str
    trained_on: str
    metric: str
    percent: float
    source: str


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """All figures, in the order of their tables."""
    with Path(__file__).with_name("published_results.csv").open(newline="", encoding="utf-8") as file:
        return tuple(PublishedFigure(**(row | {"percent": float(row["percent"])})) for row in csv.DictReader(file))  # type: ignore[arg-type]
