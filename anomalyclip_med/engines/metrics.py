"""From a detector's outputs on labelled images to tables of metrics."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch.distributed as dist
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from tabulate import tabulate

from anomalyclip_med.errors import MetricError, ScanError
from anomalyclip_med.inferers import aggregate, check_aggregation
from anomalyclip_med.metrics import (
    PixelHistogram,
    Ranking,
    aupro_reference,
    image_intervals,
    pixel_intervals,
    pixel_ranking,
)
from anomalyclip_med.metrics.bootstrap import IMAGE_BINS
from anomalyclip_med.studies import published_figures

METRICS = ("pixel_auroc", "pixel_aupro", "image_auroc", "image_ap")
"""In the order of the reference's tables, which have no others."""
MORE_METRICS = ("pixel_aupro_reference", "pixel_ap", "pixel_f1_max", "image_f1_max")
GROUP_METRICS = ("group_auroc", "group_ap", "group_f1_max")
_SHORT = {"average_precision": "ap"}
_CURVE_POINTS = 2000


@dataclass
class _Image:
    """One scored image; the map and the mask are dropped when too many are held."""

    name: str
    of_class: str
    group: str
    label: int
    score: float
    pixels: PixelHistogram | None
    anomaly_map: np.ndarray | None
    mask: np.ndarray | None


class MetricsWriter:
    """Computes the metrics of every class, their mean and intervals; writes tables and curves.

    ``metrics.json`` has everything, ``metrics.csv`` a row per class, ``curves.png`` the ROC curves of the images and
    the PRO curves of the pixels; the table is printed in the arrangement of the reference, with the published figures
    below it where the data set has some. Pixel metrics are taken at the model's input size, as the paper's are, over
    the images that are normal or have a mask. A metric that is undefined for a class (one kind of image only) is left
    empty, with the reason in the file. Under ``torch.distributed`` every rank scores its images and the first one
    writes.

    Exact figures need all maps, 5 bytes per pixel. Above ``max_pixels`` they are counted in 65,536 bins instead, in
    constant memory, and the file tells between which values the exact figures lie.

    Args:
        output_dir: folder of the files, see :func:`make_output_dir`.
        provenance: put into the file.
        dataset_name: the registry's name, for the published figures.
        fpr_limit: of AUPRO.
        aggregation: how the scores of a group's images, a patient's say, make one.
        max_pixels: how many pixels of maps are held.

    Raises:
        ConfigurationError: the aggregation is unknown.
    """

    def __init__(
        self,
        output_dir: str | Path,
        provenance: dict[str, Any],
        dataset_name: str | None = None,
        fpr_limit: float = 0.3,
        aggregation: str = "max",
        max_pixels: int = 1 << 28,
    ) -> None:
        self.output_dir = Path(output_dir).expanduser()
        self.provenance = provenance
        self.dataset_name = dataset_name
        self.fpr_limit = fpr_limit
        self.aggregation = check_aggregation(aggregation)
        self.max_pixels = max_pixels
        self._images: list[_Image] = []
        self._held = 0
        self._counted: dict[str, PixelHistogram] = {}

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
            image = _Image(
                name=item["name"],
                of_class=item["class"],
                group=item["group"],
                label=label,
                score=float(score.mean(dtype=np.float64)),
                pixels=None,
                anomaly_map=None,
                mask=None,
            )
            if label == 0 or bool(item["has_mask"]):
                image.anomaly_map, image.mask = anomaly_map, item["mask"].cpu().numpy()[0] > 0
                image.pixels = PixelHistogram(IMAGE_BINS)
                image.pixels.add(anomaly_map, image.mask)
                self._held += anomaly_map.size
            self._images.append(image)
        if self._held > self.max_pixels or self._counted:
            self._count()

    def _count(self) -> None:
        """Count the pixels of all maps and drop these."""
        for image in self._images:
            if image.anomaly_map is not None and image.mask is not None:
                self._counted.setdefault(image.of_class, PixelHistogram()).add(image.anomaly_map, image.mask)
                image.anomaly_map = image.mask = None

    def _finish(self, engine: Engine) -> None:
        if not self._gather():
            return
        names = sorted({image.of_class for image in self._images})
        measured = {name: _Measured(self, name) for name in names}
        classes = {name: m.record for name, m in measured.items()}
        metrics = [*METRICS, *MORE_METRICS, *GROUP_METRICS]
        mean = {m: _mean(c.get(m) for c in classes.values()) for m in metrics}
        published = [f for f in published_figures() if f.dataset == self.dataset_name and f.method == "anomalyclip"]
        content = {
            **self.provenance,
            "data_set": self.dataset_name,
            "exact": not self._counted,
            "fpr_limit": self.fpr_limit,
            "classes": classes,
            "mean": mean,
            "published": [vars(f) for f in published],
        }
        path = self.output_dir / "metrics.json"
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        self._write_csv(classes, mean)
        _draw_curves(self.output_dir / "curves.png", measured, self.fpr_limit)
        print("\n" + _table(classes, mean, published))
        print(f"\nResults: {path}")
        if self.provenance["notice"]:
            print(self.provenance["notice"])

    def _gather(self) -> bool:
        """Bring the images of all ranks to the first one, in the order of their names; whether this is that one."""
        if dist.is_initialized():
            if self._counted or self._held * dist.get_world_size() > self.max_pixels:
                self._count()
            found: list[Any] = [None] * dist.get_world_size()
            dist.gather_object((self._images, self._counted), found if dist.get_rank() == 0 else None)
            if dist.get_rank() != 0:
                return False
            self._images = [image for images, _ in found for image in images]
            self._counted = {}
            for _, counted in found:
                for name, histogram in counted.items():
                    self._counted.setdefault(name, PixelHistogram()).merge(histogram)
            if self._counted:
                self._count()
        self._images.sort(key=lambda image: image.name)
        return True

    def _write_csv(self, classes: dict[str, dict[str, Any]], mean: dict[str, float | None]) -> None:
        metrics = [m for m in mean if mean[m] is not None]
        columns = [
            "class",
            "images",
            "anomalous",
            *metrics,
            *(f"{m}_{end}" for m in metrics for end in ("low", "high")),
        ]
        with (self.output_dir / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            for name, record in classes.items():
                ends = {
                    f"{m}_{end}": v
                    for m, i in record["intervals"].items()
                    for end, v in zip(("low", "high"), i, strict=True)
                }
                writer.writerow({"class": name, **record, **ends})
            writer.writerow({"class": "mean", **mean})


class _Measured:
    """The figures of one class, and the rankings that its curves are drawn from."""

    def __init__(self, writer: MetricsWriter, name: str) -> None:
        images = [image for image in writer._images if image.of_class == name]
        labels = [image.label for image in images]
        self.record: dict[str, Any] = {
            "images": len(images),
            "anomalous": sum(labels),
            "undefined": {},
            "intervals": {},
        }
        self.pixels: Ranking | None = None
        self.images = self._rank("image", lambda: Ranking.of([i.score for i in images], labels))
        groups = [i.group or i.name for i in images]
        if self.images:
            self._interval("image", lambda: image_intervals([i.score for i in images], labels, groups))
        self._measure_groups(images, writer.aggregation)

        known = [image for image in images if image.pixels is not None]
        counted = writer._counted.get(name)
        if counted:
            self.pixels = self._rank("pixel", counted.ranking)
        else:
            maps = np.stack([i.anomaly_map for i in known if i.anomaly_map is not None] or [np.empty((0, 0))])
            masks = np.stack([i.mask for i in known if i.mask is not None] or [np.empty((0, 0), dtype=bool)])
            self.pixels = self._rank("pixel", lambda: pixel_ranking(maps, masks))
            if self.pixels:
                try:
                    self.record["pixel_aupro_reference"] = aupro_reference(maps, masks, writer.fpr_limit)
                except MetricError as error:
                    self.record["undefined"]["pixel_aupro_reference"] = str(error)
        self.record["pixel_aupro"] = self.pixels.area(writer.fpr_limit) if self.pixels else None
        if self.pixels:
            if counted:
                self.record["bounds"] = {
                    f"pixel_{_SHORT.get(m, m)}": list(b) for m, b in counted.bounds(writer.fpr_limit).items()
                }
            of_known = [i.group or i.name for i in known]
            histograms = [i.pixels for i in known if i.pixels is not None]
            self._interval("pixel", lambda: pixel_intervals(histograms, of_known, writer.fpr_limit))

    def _measure_groups(self, images: Sequence[_Image], aggregation: str) -> None:
        grouped: dict[str, list[_Image]] = {}
        for image in images:
            if image.group:
                grouped.setdefault(image.group, []).append(image)
        if not grouped:
            return
        scores = [aggregate([i.score for i in members], aggregation) for members in grouped.values()]
        labels = [max(i.label for i in members) for members in grouped.values()]
        self.record |= {"groups": len(grouped), "anomalous_groups": sum(labels)}
        if self._rank("group", lambda: Ranking.of(scores, labels)):
            self._interval("group", lambda: image_intervals(scores, labels))

    def _rank(self, of: str, rank: Callable[[], Ranking]) -> Ranking | None:
        """Put the figures of a ranking into the record; undefined ones are None there, with the reason."""
        ranking, reason = None, ""
        try:
            ranking = rank()
        except MetricError as error:
            reason = str(error)
        for name in ("auroc", "average_precision", "f1_max"):
            key = f"{of}_{_SHORT.get(name, name)}"
            self.record[key] = getattr(ranking, name)() if ranking else None
            if not ranking:
                self.record["undefined"][key] = reason
        return ranking

    def _interval(self, of: str, intervals: Callable[[], dict[str, tuple[float, float]]]) -> None:
        try:
            found = intervals()
        except MetricError:  # too few images for one resample with both classes
            return
        self.record["intervals"] |= {f"{of}_{_SHORT.get(name, name)}": list(ends) for name, ends in found.items()}


def _table(classes: dict[str, dict[str, Any]], mean: dict[str, float | None], published: Sequence[Any]) -> str:
    """The reference's arrangement, in percent; published figures by source below the mean."""
    rows = [[name, *(record[m] for m in METRICS)] for name, record in [*classes.items(), ("mean", mean)]]
    percent = [[row[0], *("" if v is None else f"{100 * v:.1f}" for v in row[1:])] for row in rows]
    sources = dict.fromkeys((f.source, f.trained_on) for f in published)
    for source, trained_on in sources:
        figures = {f.metric: f.percent for f in published if (f.source, f.trained_on) == (source, trained_on)}
        told = [str(figures.get(m, "")) for m in METRICS]
        percent.append([f"published, trained on {trained_on} ({source})", *told])
    return tabulate(percent, ("objects", *METRICS), tablefmt="pipe", disable_numparse=True)


def _draw_curves(path: Path, classes: dict[str, _Measured], fpr_limit: float) -> None:
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = matplotlib.colormaps["tab20"](np.linspace(0, 1, 20))
    for number, (name, measured) in enumerate(classes.items()):
        for axes, ranking in ((left, measured.images), (right, measured.pixels)):
            if ranking:
                fpr, recall = ranking.curve()
                shown = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), _CURVE_POINTS)).astype(int))
                axes.plot(fpr[shown], recall[shown], label=name, color=colours[number % 20], linewidth=1.2)
    left.set(
        title="Images: ROC", xlabel="false-positive rate", ylabel="true-positive rate", xlim=(0, 1), ylim=(0, 1.01)
    )
    right.set(
        title="Pixels: PRO", xlabel="false-positive rate", ylabel="per-region overlap", xlim=(0, 1), ylim=(0, 1.01)
    )
    right.axvspan(fpr_limit, 1, color="0.93", zorder=0)  # beyond what AUPRO counts
    for axes in (left, right):
        if axes.lines:
            axes.legend(fontsize="small", loc="lower right", ncols=1 + len(classes) // 12)
    figure.savefig(path, dpi=120)


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [v for v in values if v is not None]
    return float(np.mean(defined)) if defined else None
