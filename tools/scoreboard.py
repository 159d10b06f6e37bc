"""Measures the offline detector on every real data set that is there, beside trivial baselines and published figures.

Usage: python tools/scoreboard.py [PROMPTS ...] [--data FOLDER] [--output FILE.md]

PROMPTS are files of embeddings, trained with different seeds, say; left out, the shipped ones. FOLDER (or the
environment variable ANOMALYCLIP_MED_DATA) holds the data sets as their publishers pack them, in folders of the names
below; those that are absent are skipped. Nothing is tuned here. Pixel metrics are taken at the model's input size over
the images that are normal or have a mask. "ours" is the mean over PROMPTS, with the lowest and the highest;
"untrained" the same from random embeddings, those that the seeds 0, 1, ... start from, in the same settings. The
interval is the first file's 95 % bootstrap interval over images or, where they are known, patients. A baseline's image
score is its map's maximum or the mean of its highest 1 %, whichever does better.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate
from tqdm import tqdm

from anomalyclip_med import create_model
from anomalyclip_med.data.datasets import Prepared, prepare
from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.metrics import PixelHistogram, aupro, auroc, image_intervals, pixel_intervals
from anomalyclip_med.metrics.bootstrap import IMAGE_BINS
from anomalyclip_med.networks import Detector
from anomalyclip_med.published import published_figures
from anomalyclip_med.transforms import LoadMaskd, LoadSliced, ResizeSliced

# The registry's name: (the folder, what the table calls it, a folder of masks that others made).
DATA_SETS: dict[str, tuple[str, str, str | None]] = {
    "clinicdb": ("CVC-ClinicDB", "CVC-ClinicDB", None),
    "colondb": ("CVC-ColonDB", "CVC-ColonDB", None),
    "kvasir": ("Kvasir-SEG", "Kvasir", None),
    "endo": ("Endo", "Endo", None),
    "isic": ("ISIC", "ISIC", None),
    "tn3k": ("TN3K", "TN3K", None),
    "ddti": ("DDTI_preprocessed", "DDTI", None),
    "busi": ("BUSI", "BUSI", None),
    "brainmri": ("BrainMRI", "BrainMRI", "BrainMRI_masks"),
    "br35h": ("Br35H", "Br35H", None),
    "headct": ("HeadCT", "HeadCT", None),
    "covid19": ("COVID-19_Radiography_Dataset", "COVID-19", None),
}
BASELINES = ("centre", "bright", "bright x centre")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="*", default=["auto"], metavar="PROMPTS")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYCLIP_MED_DATA", "../shared/data")))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    detectors = [create_model("offline", prompts) for prompts in arguments.prompts]
    settings = detectors[0].settings()
    untrained = [create_model("offline", None, **settings, seed=seed) for seed in range(len(detectors))]
    rows = []
    for name, (folder, title, masks) in DATA_SETS.items():
        if not (arguments.data / folder).is_dir():
            print(f"{title}: skipped, {arguments.data / folder} is absent")
            continue
        found = arguments.data / masks if masks and (arguments.data / masks).is_dir() else None
        rows += list(measure(title, prepare(name, arguments.data / folder, found), detectors, untrained))
    headers = ("data set", "images", "metric", "untrained", "ours", "95 % interval", *BASELINES, "published")
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    print(table)
    if arguments.output:
        arguments.output.write_text(table + "\n")


def measure(
    title: str, prepared: Prepared, detectors: list[Detector], untrained: list[Detector]
) -> Iterator[list[str]]:
    """Rows of one data set; the detectors differ in their embeddings only."""
    samples = [s for s in prepared.samples if s.section == "test"]
    detector = detectors[0]
    size = detector.image_size
    load, resize, load_mask = LoadSliced("image"), ResizeSliced("image", size), LoadMaskd("mask", size)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (detector.image_mean, detector.image_std))
    offsets = (torch.arange(size) - size / 2 + 0.5) / size
    centre = torch.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 0.25**2))
    ours = [f"ours {number}" for number in range(len(detectors))]
    random = [f"untrained {number}" for number in range(len(untrained))]
    maps: dict[str, list[np.ndarray]] = {kind: [] for kind in (*ours, *random, *BASELINES)}
    scores: dict[str, list[float]] = {kind: [] for kind in (*maps, *(f"{b} top" for b in BASELINES))}
    masks = []
    for sample in tqdm(samples, desc=title):
        item = load({"image": open_picture(sample.image), "slice": 0})
        if item["failure"]:
            raise SystemExit(item["failure"])
        image = resize(item)["image"].as_tensor()
        opened = [open_picture(path) for path in sample.masks] or None
        masks.append(load_mask({"mask": opened, "mask_rule": prepared.rule})["mask"][0].numpy() > 0)
        grey = image.mean(dim=0)
        for kind, values in zip(BASELINES, (centre, grey, grey * centre), strict=True):
            maps[kind].append(values.numpy())
            scores[kind].append(float(values.max()))
            scores[f"{kind} top"].append(float(values.flatten().topk(size * size // 100).values.mean()))
        features = detector.encode_image(((image - mean) / std)[None])  # the same for all
        for kind, each in zip((*ours, *random), (*detectors, *untrained), strict=True):
            out = each.score_features(features)
            maps[kind].append(out.anomaly_map[0, 0].numpy())
            scores[kind].append(out.score.item())

    def row(metric: str, values: dict[str, float], interval: tuple[float, float], count: int) -> list[str]:
        best = [max(values[b], values.get(f"{b} top", 0.0)) for b in BASELINES]

        def over_seeds(kinds: list[str]) -> str:
            seeds = [100 * values[kind] for kind in kinds]
            return f"{np.mean(seeds):.1f}" + (f" ({min(seeds):.1f} to {max(seeds):.1f})" if len(seeds) > 1 else "")

        span = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
        return [
            title,
            str(count),
            metric,
            over_seeds(random),
            over_seeds(ours),
            span,
            *(f"{100 * value:.1f}" for value in best),
            published(prepared.entry.name, metric),
        ]

    labels = np.array([s.label for s in samples])
    groups = [s.group or str(s.image) for s in samples]
    if 0 < labels.sum() < len(labels):
        intervals = image_intervals(scores[ours[0]], labels, groups)
        yield row("image AUROC", {k: auroc(s, labels) for k, s in scores.items()}, intervals["auroc"], len(labels))
    known = [i for i, s in enumerate(samples) if s.masks or not s.label]
    truth = np.stack([masks[i] for i in known])
    if truth.any():
        chosen = {kind: np.stack([m[i] for i in known]) for kind, m in maps.items()}
        histograms = []
        for anomaly_map, mask in zip(chosen[ours[0]], truth, strict=True):
            histograms.append(PixelHistogram(IMAGE_BINS))
            histograms[-1].add(anomaly_map, mask)
        intervals = pixel_intervals(histograms, [groups[i] for i in known])
        yield row("pixel AUROC", {k: auroc(m, truth) for k, m in chosen.items()}, intervals["auroc"], len(known))
        yield row("AUPRO", {k: aupro(m, truth) for k, m in chosen.items()}, intervals["aupro"], len(known))


def published(name: str, metric: str) -> str:
    """AnomalyCLIP's figure in the paper's medical table, trained on MVTec AD, "" where there is none."""
    key = {"image AUROC": "image_auroc", "pixel AUROC": "pixel_auroc", "AUPRO": "pixel_aupro"}[metric]
    figures = [
        f.percent
        for f in published_figures()
        if (f.dataset, f.method, f.trained_on, f.metric) == (name, "anomalyclip", "mvtec", key)
    ]
    return str(figures[0]) if figures else ""


if __name__ == "__main__":
    main()
