"""What the options that are faster than exact gain in time and cost in accuracy, on real images.

Usage: python benchmarks/approximations.py [--data FOLDER] [--clip NAME] [--image-size PIXELS] [--precision NAME ...]
           [--sets NAME ...] [--scans PATH ...] [--every N] [--batch-size N] [--output FILE.md]

FOLDER (or the environment variable ANOMALYCLIP_MED_DATA) holds labelled data sets as their publishers pack them; of
scans, such as DICOM series and volumes, every slice is timed and compared with the exact forward. Every batch goes
through all variants in turn, so that what else the machine does cancels out: a speed-up is the median, over the
batches, of the exact forward's time by the variant's. Reading is not timed. --every 10 takes each tenth image or slice.
Differences of metrics are in points; those of scores and maps, in [0, 1], are the largest of all images and pixels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate
from tqdm import tqdm

from anomalyclip_med import create_model
from anomalyclip_med.data import find_scans
from anomalyclip_med.data.datasets import prepare
from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.metrics import aupro, auroc, average_precision
from anomalyclip_med.networks import Detector
from anomalyclip_med.networks.background import body_patches
from anomalyclip_med.transforms import LoadMaskd, LoadSliced, ResizeSliced

_SETS = {"headct": ("HeadCT", None), "brainmri": ("BrainMRI", "BrainMRI_masks")}
"""The registry's name: the folder, and a folder of masks that others made."""


@dataclass(frozen=True)
class Images:
    """What is scored.

    Attributes:
        title: what the table calls them.
        images: (N, 3, S, S) in [0, 1].
        masks: (N, S, S), where they are labelled.
        labels: (N,), likewise.
        known: (N,) which images are normal or have a mask.
    """

    title: str
    images: torch.Tensor
    masks: np.ndarray | None = None
    labels: np.ndarray | None = None
    known: np.ndarray | None = None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYCLIP_MED_DATA", "../shared/data")))
    parser.add_argument("--clip", default="offline")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--precision", nargs="*", default=["bfloat16", "int8"], metavar="NAME")
    parser.add_argument("--sets", nargs="*", choices=_SETS, default=list(_SETS))
    parser.add_argument("--scans", nargs="*", type=Path, default=[], metavar="PATH")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    def build(**options: object) -> Detector:
        return create_model(arguments.clip, "auto", arguments.image_size, **options).to(arguments.device)

    exact = build()
    variants = {"exact": exact, "skip_background": build(skip_background=True)}
    for name in arguments.precision:
        variants[name] = build(precision=name)
        variants[f"{name}, skip_background"] = build(precision=name, skip_background=True)
    rows: list[list[str]] = []
    for images in (*_labelled(arguments, exact.image_size), *_unlabelled(arguments, exact.image_size)):
        rows += measure(images, variants, arguments.batch_size, arguments.device)
    headers = ("images", "variant", "patches left out", "s/image, median", "quartiles", "speed-up")
    headers += ("image AUROC", "AP", "pixel AUROC", "AUPRO", "score", "map")
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    threads = torch.get_num_threads()
    note = f"{arguments.clip}, {exact.image_size} px, batches of {arguments.batch_size}, {threads} threads"
    print(f"{note}\n\n{table}")
    if arguments.output:
        arguments.output.write_text(f"{note}\n\n{table}\n")


def _labelled(arguments: argparse.Namespace, size: int) -> Iterator[Images]:
    load, resize, load_mask = LoadSliced("image"), ResizeSliced("image", size), LoadMaskd("mask", size)
    for name in arguments.sets:
        folder, masks_of_others = _SETS[name]
        if not (arguments.data / folder).is_dir():
            print(f"{folder}: skipped, {arguments.data / folder} is absent")
            continue
        prepared = prepare(name, arguments.data / folder, arguments.data / masks_of_others if masks_of_others else None)
        samples = prepared.samples[:: arguments.every]
        images, masks = [], []
        for sample in tqdm(samples, desc=folder):
            images.append(resize(load({"image": open_picture(sample.image), "slice": 0}))["image"].as_tensor())
            opened = [open_picture(path) for path in sample.masks] or None
            masks.append(load_mask({"mask": opened, "mask_rule": prepared.rule})["mask"][0].numpy() > 0)
        yield Images(
            folder,
            torch.stack(images),
            np.stack(masks),
            np.array([sample.label for sample in samples]),
            np.array([bool(sample.masks) or not sample.label for sample in samples]),
        )


def _unlabelled(arguments: argparse.Namespace, size: int) -> Iterator[Images]:
    load, resize = LoadSliced("image"), ResizeSliced("image", size)
    for path in arguments.scans:
        scans, _ = find_scans([path])
        items = [{"image": scan, "slice": info.index} for scan in scans for info in scan.slices][:: arguments.every]
        read = [load(item) for item in items]
        images = [resize(item)["image"].as_tensor() for item in read if not item["failure"]]
        yield Images(path.name, torch.stack(images))


def measure(images: Images, variants: dict[str, Detector], batch_size: int, device: str) -> Iterator[list[str]]:
    """Rows of one data set, one of each variant."""
    exact = variants["exact"]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (exact.image_mean, exact.image_std))
    batches = ((images.images - mean) / std).to(device).split(batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    scores: dict[str, list[np.ndarray]] = {name: [] for name in variants}
    maps: dict[str, list[np.ndarray]] = {name: [] for name in variants}
    with torch.inference_mode():
        for detector in variants.values():
            detector(batches[0])  # warm up
        for number, batch in enumerate(tqdm(batches, desc=images.title)):
            names = list(variants)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                start = time.perf_counter()
                out = variants[name](batch)
                scores[name].append(out.score.cpu().numpy())  # waits for the device
                seconds[name].append((time.perf_counter() - start) / len(batch))
                maps[name].append(out.anomaly_map[:, 0].cpu().numpy())
    left_out = _left_out(batches, variants["skip_background"])
    all_scores = {name: np.concatenate(parts) for name, parts in scores.items()}
    all_maps = {name: np.concatenate(parts) for name, parts in maps.items()}
    metrics = {name: _metrics(images, all_scores[name], all_maps[name]) for name in variants}
    for name, detector in variants.items():
        ratios = [a / b for a, b in zip(seconds["exact"], seconds[name], strict=True)]
        quartiles = np.quantile(seconds[name], [0.25, 0.75])
        yield [
            f"{images.title} ({len(images.images)})",
            name,
            f"{100 * left_out:.0f} %" if detector.views.skip_background else "",
            f"{statistics.median(seconds[name]):.3f}",
            f"{quartiles[0]:.3f} to {quartiles[1]:.3f}",
            f"{statistics.median(ratios):.2f}",
            *(_told(value, base, name) for value, base in zip(metrics[name], metrics["exact"], strict=True)),
            "" if name == "exact" else f"{np.abs(all_scores[name] - all_scores['exact']).max():.4f}",
            "" if name == "exact" else f"{np.abs(all_maps[name] - all_maps['exact']).max():.4f}",
        ]


def _left_out(batches: Sequence[torch.Tensor], detector: Detector) -> float:
    """Share of the patches of all images."""
    assert detector.vision.dark_below is not None
    kept = [body_patches(batch, detector.vision.dark_below, detector.vision.patch)[1] for batch in batches]
    return 1 - float(torch.cat(kept).float().mean())


def _metrics(images: Images, scores: np.ndarray, maps: np.ndarray) -> tuple[float | None, ...]:
    """Image AUROC and AP, pixel AUROC and AUPRO in percent; None where there are no labels or no masks."""
    if images.labels is None or images.masks is None:
        return (None,) * 4
    of_images = auroc(scores, images.labels), average_precision(scores, images.labels)
    if not images.masks.any():
        return 100 * of_images[0], 100 * of_images[1], None, None
    maps, masks = maps[images.known], images.masks[images.known]
    return tuple(100 * value for value in (*of_images, auroc(maps, masks), aupro(maps, masks)))


def _told(value: float | None, exact: float | None, variant: str) -> str:
    if value is None or exact is None:
        return ""
    return f"{value:.2f}" if variant == "exact" else f"{value:.2f} ({value - exact:+.2f})"


if __name__ == "__main__":
    main()
