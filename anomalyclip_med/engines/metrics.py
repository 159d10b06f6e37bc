"""From a detector's outputs on labelled images to tables of metrics."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import matplotlib
import numpy as np
import torch.distributed as dist
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from tabulate import tabulate

from anomalyclip_med.errors import ConfigurationError, MetricError
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
from anomalyclip_med.published import published_figures

METRICS = ("pixel_auroc", "pixel_aupro", "image_auroc", "image_ap", "pixel_aupro_reference")
"""Those of the reference's tables, in their order, and its own AUPRO, which published figures are compared with."""
_MORE_METRICS = ("pixel_ap", "pixel_f1_max", "image_f1_max")
GROUP_METRICS = ("group_auroc", "group_ap", "group_f1_max")
_SHORT = {"average_precision": "ap"}
_CURVE_POINTS = 2000
_PUBLISHED_FPR_LIMIT = 0.3


@dataclass
class _Image:
    """One scored image; the map and the mask lie in the writer's file from ``place`` on, until they are counted."""

    name: str
    of_class: str
    group: str
    label: int
    score: float
    pixels: PixelHistogram | None = None
    place: int | None = None
    lost: bool = False


class MetricsWriter:
    """Computes the metrics of every class, their mean and intervals; writes tables and curves.

    ``metrics.json`` has everything, ``metrics.csv`` a row per class, ``curves.png`` the ROC curves of the images and
    the PRO curves of the pixels; the table is printed in the arrangement of the reference, with the published figures
    below it where the data set has some. Pixel metrics are taken at the model's input size, as the paper's are, over
    the images that are normal, whose masks do not count, or have a mask. A metric that is undefined for a class (one
    kind of image only) is left empty, with the reason in the file. Under ``torch.distributed`` every rank scores its
    images and the first one writes.

    The evaluator's batches are those of :class:`LabelledImages`, or what is kept of them, and stay whole.

    Maps lie in a temporary file in ``output_dir``, 5 bytes per pixel, and those of one class are in memory at a time.
    A class of more than ``max_pixels`` is counted in 65,536 bins instead, in constant memory, and the file tells
    between which values the exact figures lie.

    Args:
        output_dir: folder of the files, see :func:`make_output_dir`.
        provenance: put into the file.
        dataset_name: the registry's name, for the published figures.
        section: of the data list; published figures are those of "test".
        fpr_limit: of AUPRO, in (0, 1].
        aggregation: how the scores of a group's images, a patient's say, make one.
        max_pixels: of one class, above which they are counted.
        intervals: whether bootstrap intervals are computed, which take longer than all else.

    Raises:
        ConfigurationError: the aggregation is unknown, or the limit not in (0, 1].
    """

    def __init__(
        self,
        output_dir: str | Path,
        provenance: dict[str, Any],
        dataset_name: str | None = None,
        section: str = "test",
        fpr_limit: float = 0.3,
        aggregation: str = "max",
        max_pixels: int = 1 << 28,
        intervals: bool = True,
    ) -> None:
        if not 0 < fpr_limit <= 1:
            raise ConfigurationError(f"fpr_limit={fpr_limit} must lie above 0 and not above 1")
        self.output_dir = Path(output_dir).expanduser()
        self.provenance = provenance
        self.dataset_name = dataset_name
        self.section = section
        self.fpr_limit = fpr_limit
        self.aggregation = check_aggregation(aggregation)
        self.max_pixels = max_pixels
        self.intervals = intervals
        self._images: list[_Image] = []
        self._side = 0
        self._held: dict[str, int] = {}
        self._counted: dict[str, PixelHistogram] = {}
        self._file: IO[bytes] | None = None

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, lambda _: self._finish())

    def _collect(self, engine: Engine) -> None:
        batch = engine.state.batch
        labels, known = batch["label"].tolist(), batch["known"].tolist()
        masks = batch["mask"].cpu().numpy()[:, 0] > 0
        for i, (anomaly_map, score) in enumerate(engine.state.output["pred"].cpu().numpy()):
            label = int(labels[i])
            mask = masks[i] & bool(label)
            of_class, value = batch["class"][i], float(score.mean(dtype=np.float64))
            image = _Image(batch["name"][i], of_class, batch["group"][i], label, value)
            if known[i]:
                image.lost = bool(label) and not mask.any()
                image.pixels = PixelHistogram(IMAGE_BINS)
                image.pixels.add(anomaly_map, mask)
                if image.of_class in self._counted:
                    self._counted[image.of_class].add(anomaly_map, mask)
                else:
                    image.place = self._store(anomaly_map, mask)
                    self._held[image.of_class] = self._held.get(image.of_class, 0) + mask.size
            self._images.append(image)
            if self._held.get(image.of_class, 0) > self.max_pixels:
                self._count(image.of_class)

    def _store(self, anomaly_map: np.ndarray, mask: np.ndarray) -> int:
        """Write a map and its mask to the end of the file; returns where."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self.output_dir)  # noqa: SIM115 - lives as long as the writer
        self._side = len(anomaly_map)
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(anomaly_map.astype(np.float32).tobytes() + mask.tobytes())
        return place

    def _read(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        assert self._file is not None
        self._file.seek(place)
        shape = (self._side, self._side)
        anomaly_map = np.frombuffer(self._file.read(4 * self._side**2), np.float32).reshape(shape)
        return anomaly_map, np.frombuffer(self._file.read(self._side**2), bool).reshape(shape)

    def _count(self, of_class: str) -> None:
        """Count the pixels of a class and forget its maps."""
        histogram = self._counted.setdefault(of_class, PixelHistogram())
        for image in self._images:
            if image.of_class == of_class and image.place is not None:
                histogram.add(*self._read(image.place))
                image.place = None
        self._held[of_class] = 0

    def _finish(self) -> None:
        ranks = _from_all(({image.of_class for image in self._images}, self._held, set(self._counted)))
        names = sorted(set().union(*(found for found, _, _ in ranks)))
        for name in names:
            held = sum(pixels.get(name, 0) for _, pixels, _ in ranks)
            if held > self.max_pixels or any(name in counted for _, _, counted in ranks):
                self._count(name)
        measured = {}
        for name in names:
            images = [image for image in self._images if image.of_class == name]
            maps = [(image.name, *self._read(image.place)) for image in images if image.place is not None]
            found = _to_first((images, maps, self._counted.get(name)))
            if found is not None:
                measured[name] = self._measure(found)
        if measured:
            self._write(measured)

    def _measure(self, found: Sequence[tuple[list[_Image], list[Any], PixelHistogram | None]]) -> _Measured:
        """Measure a class from what each rank has of it."""
        images = sorted((image for mine, _, _ in found for image in mine), key=lambda image: image.name)
        maps = sorted((entry for _, held, _ in found for entry in held), key=lambda entry: entry[0])
        histogram = None
        for _, _, counts in found:
            if counts is not None:
                histogram = histogram or PixelHistogram()
                histogram.merge(counts)
        return _Measured(images, maps, histogram, self.fpr_limit, self.aggregation, self.intervals)

    def _write(self, measured: dict[str, _Measured]) -> None:
        classes = {name: m.record for name, m in measured.items()}
        metrics = [*METRICS, *_MORE_METRICS, *GROUP_METRICS]
        known = {m: [c[m] for c in classes.values() if c.get(m) is not None] for m in metrics}
        mean = {m: float(np.mean(values)) if values else None for m, values in known.items()}
        # Others than these cannot be compared.
        comparable = self.section == "test" and self.fpr_limit == _PUBLISHED_FPR_LIMIT
        method = str(self.provenance["model"]["method"]).lower().replace("-", "_")
        published = [
            f for f in published_figures() if comparable and f.dataset == self.dataset_name and f.method == method
        ]
        content = {
            **self.provenance,
            "data_set": self.dataset_name,
            "fpr_limit": self.fpr_limit,
            "classes": classes,
            "mean": mean,
            "mean_over_classes": {m: len(values) for m, values in known.items()},
            "published": [vars(f) for f in published],
        }
        path = self.output_dir / "metrics.json"
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        self._write_csv(classes, mean)
        _draw_curves(self.output_dir / "curves.png", measured, self.fpr_limit)
        print("\n" + _table(classes, mean, published))
        if published:
            print("\nPublished figures are of the whole set, as its authors had it.")
        if lost := sum(c["masks_lost"] for c in classes.values()):
            print(f"\n{lost} mask(s) vanish at the model's input size: these anomalies count as normal pixels")
        print(f"\nResults: {path}")
        if self.provenance["notice"]:
            print(self.provenance["notice"])

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

    def __init__(
        self,
        images: Sequence[_Image],
        maps: Sequence[tuple[str, np.ndarray, np.ndarray]],
        histogram: PixelHistogram | None,
        fpr_limit: float,
        aggregation: str,
        intervals: bool,
    ) -> None:
        self.intervals = intervals
        labels = [image.label for image in images]
        self.record: dict[str, Any] = {
            "images": len(images),
            "anomalous": sum(labels),
            "masks_lost": sum(image.lost for image in images),
            "exact": histogram is None,
            "undefined": {},
            "intervals": {},
        }
        self.images = self._rank("image", lambda: Ranking.of([i.score for i in images], labels))
        groups = [i.group or i.name for i in images]
        if self.images:
            self._interval("image", lambda: image_intervals([i.score for i in images], labels, groups))
        self._measure_groups(images, aggregation)

        stacked = np.stack([m for _, m, _ in maps] or [np.empty((0, 0), dtype=np.float32)])
        masks = np.stack([m for _, _, m in maps] or [np.empty((0, 0), dtype=bool)])
        self.pixels = self._rank("pixel", histogram.ranking if histogram else lambda: pixel_ranking(stacked, masks))
        self.record["pixel_aupro"] = self.pixels.area(fpr_limit) if self.pixels else None
        self.record["pixel_aupro_reference"] = None
        try:
            if histogram:
                raise MetricError("more pixels than max_pixels: the maps are not held")
            self.record["pixel_aupro_reference"] = aupro_reference(stacked, masks, fpr_limit)
        except MetricError as error:
            self.record["undefined"]["pixel_aupro_reference"] = str(error)
        if self.pixels:
            if histogram:
                bounds = histogram.bounds(fpr_limit)
                self.record["bounds"] = {f"pixel_{_SHORT.get(m, m)}": list(b) for m, b in bounds.items()}
            known = [(i.pixels, i.group or i.name) for i in images if i.pixels is not None]
            histograms, of_known = zip(*known, strict=True)
            self._interval("pixel", lambda: pixel_intervals(histograms, of_known, fpr_limit))

    def _measure_groups(self, images: Sequence[_Image], aggregation: str) -> None:
        if not any(image.group for image in images):
            return
        grouped: dict[str, list[_Image]] = {}
        for image in images:
            grouped.setdefault(image.group or image.name, []).append(image)
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

    def _interval(self, of: str, compute: Callable[[], dict[str, tuple[float, float]]]) -> None:
        if not self.intervals:
            return
        try:
            found = compute()
        except MetricError:  # too few images for one resample with both classes
            return
        self.record["intervals"] |= {f"{of}_{_SHORT.get(name, name)}": list(ends) for name, ends in found.items()}


def _table(classes: dict[str, dict[str, Any]], mean: dict[str, float | None], published: Sequence[Any]) -> str:
    """The reference's arrangement, in percent; published figures by source below the mean."""
    rows = [[name, *(record[m] for m in METRICS)] for name, record in [*classes.items(), ("mean", mean)]]
    percent = [[row[0], *("" if v is None else f"{100 * v:.1f}" for v in row[1:])] for row in rows]
    sources = dict.fromkeys((f.source, f.trained_on) for f in published)
    for source, trained_on in sources:
        figures: dict[str, Any] = {
            f.metric: f.percent for f in published if (f.source, f.trained_on) == (source, trained_on)
        }
        # The authors' AUPRO is what theirs is to be compared with, not the exact one.
        figures["pixel_aupro_reference"] = figures.pop("pixel_aupro", "")
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


def _from_all(value: Any) -> list[Any]:
    """What each rank has."""
    if not dist.is_initialized():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def _to_first(value: Any) -> list[Any] | None:
    """What each rank has, on the first one; None on the others."""
    if not dist.is_initialized():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.gather_object(value, found if dist.get_rank() == 0 else None)
    return found if dist.get_rank() == 0 else None
