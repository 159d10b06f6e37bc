"""Evaluation on labelled images: from a data list to a table of metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.utils import ensure_tuple
from tabulate import tabulate

from anomalyclip_med.data.datalist import read_datalist
from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.errors import MetricError, ScanError
from anomalyclip_med.metrics import aupro, auroc, average_precision

METRICS = ("pixel_auroc", "pixel_aupro", "image_auroc", "image_ap")


def evaluation_items(datalist: str | Path, root: str | Path, section: str = "test") -> list[dict[str, Any]]:
    """Entries of a data list as items of a MONAI ``Dataset``: image and masks opened as scans of one slice.

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
        items.append({**entry, "image": image, "mask": masks or None, "slice": 0})
    return items


class MetricsWriter:
    """Computes the metrics of every class and their mean; writes ``metrics.json`` and prints the table.

    Pixel metrics are taken at the model's input size, as the paper's are, over the images that are normal or have a
    mask. A metric that is undefined for a class (one kind of image only) is left empty, with the reason in the file.
    All maps are held in memory: about 6 MB per image at 518 px while the metrics of its class are computed.

    Args:
        output_dir: folder of ``metrics.json``, see :func:`make_output_dir`.
        provenance: put into the file.
    """

    def __init__(self, output_dir: str | Path, provenance: dict[str, Any]) -> None:
        self.output_dir = Path(output_dir).expanduser()
        self.provenance = provenance
        self._rows: list[tuple[str, int, float, np.ndarray, np.ndarray | None]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            if item["failure"]:
                raise ScanError(item["failure"])  # a figure over part of a test set would pass for one over all
            anomaly_map, score = output["pred"].cpu().numpy()
            label = int(item["label"])
            known = label == 0 or bool(item["has_mask"])
            mask = item["mask"].cpu().numpy()[0] > 0 if known else None
            self._rows.append((item["class"], label, float(score.mean(dtype=np.float64)), anomaly_map, mask))

    def _finish(self, engine: Engine) -> None:
        names = sorted({row[0] for row in self._rows})
        classes = {name: self._measure([r for r in self._rows if r[0] == name]) for name in names}
        mean = {m: _mean([c[m] for c in classes.values()]) for m in METRICS}
        content = {**self.provenance, "classes": classes, "mean": mean}
        path = self.output_dir / "metrics.json"
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        rows = [[name, *(c[m] for m in METRICS)] for name, c in [*classes.items(), ("mean", mean)]]
        percent = [[row[0], *("" if v is None else f"{100 * v:.1f}" for v in row[1:])] for row in rows]
        print("\n" + tabulate(percent, ("objects", *METRICS), tablefmt="pipe", disable_numparse=True))
        print(f"\nResults: {path}")
        if self.provenance["notice"]:
            print(self.provenance["notice"])

    @staticmethod
    def _measure(rows: list[tuple[str, int, float, np.ndarray, np.ndarray | None]]) -> dict[str, Any]:
        scores, labels = [r[2] for r in rows], [r[1] for r in rows]
        maps = np.stack([r[3] for r in rows if r[4] is not None] or [np.empty((0, 0))])
        masks = np.stack([r[4] for r in rows if r[4] is not None] or [np.empty((0, 0))])
        result: dict[str, Any] = {"images": len(rows), "anomalous": sum(labels), "undefined": {}}
        for name, metric, values, truth in (
            ("pixel_auroc", auroc, maps, masks),
            ("pixel_aupro", aupro, maps, masks),
            ("image_auroc", auroc, scores, labels),
            ("image_ap", average_precision, scores, labels),
        ):
            try:
                result[name] = metric(values, truth)
            except MetricError as error:
                result[name] = None
                result["undefined"][name] = str(error)
        return result


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [v for v in values if v is not None]
    return float(np.mean(defined)) if defined else None
