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

    @property
    def remark(self) -> str:
        """What is implausible about the figure; "" for nothing."""
        return _remarks().get((self.dataset, self.method, self.metric), "")


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """All figures, in the order of their tables.

    Examples:
        >>> from anomalyclip_med.published import published_figures
        >>> chosen = ("headct", "anomalyclip", "image_auroc")
        >>> [(f.trained_on, f.percent) for f in published_figures() if (f.dataset, f.method, f.metric) == chosen]
        [('mvtec', 93.4), ('colondb', 93.5)]
    """
    return tuple(
        PublishedFigure(**(row | {"percent": float(row["percent"])}))  # type: ignore[arg-type]
        for row in _rows("published_results.csv")
    )


@cache
def _remarks() -> dict[tuple[str, str, str], str]:
    rows = _rows("published_remarks.csv")
    return {(row["dataset"], row["method"], row["metric"]): row["remark"] for row in rows}


def _rows(name: str) -> list[dict[str, str]]:
    with Path(__file__).with_name(name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
