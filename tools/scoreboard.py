"""Measures the offline detector on every real data set that is there, beside trivial baselines and published figures.

Usage: python tools/scoreboard.py [PROMPTS ...] [--data FOLDER] [--output FILE.md]

PROMPTS are files of embeddings, trained with different seeds, say; left out, the shipped ones. FOLDER (or the
environment variable ANOMALYCLIP_MED_DATA) holds the data sets as their publishers pack them; those that are absent are
skipped. Nothing is tuned here. Pixel metrics are taken at the model's input size over the images that are normal or
have a mask. "ours" is the mean over PROMPTS, with the lowest and the highest; the interval is the first file's 95 %
bootstrap interval over images. A baseline's image score is its map's maximum or the mean of its highest 1 %, whichever
does better.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import label as label_regions
from tabulate import tabulate
from tqdm import tqdm

from anomalyclip_med import create_model
from anomalyclip_med.data import find_scans
from anomalyclip_med.metrics import aupro, auroc
from anomalyclip_med.networks import AnomalyCLIP
from anomalyclip_med.transforms import LoadMaskd, LoadSliced, ResizeSliced

BINS = 2000
RESAMPLES = 500
FPR_LIMIT = 0.3

# AnomalyCLIP trained on MVTec AD, ViT-L/14@336, whole data sets: the paper's medical zero-shot table.
PUBLISHED = {
    "HeadCT": {"image AUROC": 93.4},
    "BrainMRI": {"image AUROC": 90.3},
    "COVID-19": {"image AUROC": 80.1},
    "CVC-ClinicDB": {"pixel AUROC": 82.9, "AUPRO": 67.8},
    "Kvasir": {"pixel AUROC": 78.9, "AUPRO": 45.6},
}


class Entry(NamedTuple):
    """One image: whether it is anomalous, and its mask where there is one."""

    image: Path
    mask: Path | None
    anomalous: bool


def pairs(images: Path, masks: Path) -> list[Entry]:
    """Anomalous images with masks of the same name."""
    return [Entry(p, masks / p.name, True) for p in sorted(images.iterdir())]


def brain_mri(root: Path) -> list[Entry]:
    """Masks cover only some of the anomalous images; their names differ in case."""
    masks = {p.name.lower(): p for p in (root / "BrainMRI_masks" / "masks").iterdir()}
    folder = root / "BrainMRI"
    normal = [Entry(p, None, False) for p in sorted((folder / "no").iterdir())]
    return normal + [Entry(p, masks.get(p.name.lower()), True) for p in sorted((folder / "yes").iterdir())]


def head_ct(root: Path) -> list[Entry]:
    """The first hundred bleed."""
    return [Entry(p, None, int(p.stem) < 100) for p in sorted((root / "HeadCT" / "head_ct").iterdir())]


def covid(root: Path) -> list[Entry]:
    """Flat folders by class."""
    folder = root / "COVID-19_Radiography_Dataset"
    return [Entry(p, None, c == "COVID") for c in ("COVID", "Normal") for p in sorted((folder / c).iterdir())]


DATA_SETS: dict[str, tuple[str, Callable[[Path], list[Entry]]]] = {
    "CVC-ClinicDB": (
        "CVC-ClinicDB",
        lambda r: pairs(r / "CVC-ClinicDB" / "PNG" / "Original", r / "CVC-ClinicDB" / "PNG" / "Ground Truth"),
    ),
    "Kvasir": ("Kvasir-SEG", lambda r: pairs(r / "Kvasir-SEG" / "images", r / "Kvasir-SEG" / "masks")),
    "DDTI": ("DDTI_preprocessed", lambda r: pairs(r / "DDTI_preprocessed" / "image", r / "DDTI_preprocessed" / "mask")),
    "BrainMRI": ("BrainMRI", brain_mri),
    "HeadCT": ("HeadCT", head_ct),
    "COVID-19": ("COVID-19_Radiography_Dataset", covid),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="*", default=["auto"], metavar="PROMPTS")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYCLIP_MED_DATA", "../shared/data")))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    detectors = [create_model("offline", prompts) for prompts in arguments.prompts]
    rows = []
    for name, (folder, entries) in DATA_SETS.items():
        if not (arguments.data / folder).is_dir():
            print(f"{name}: skipped, {arguments.data / folder} is absent")
            continue
        rows += list(measure(name, entries(arguments.data), detectors))
    headers = (
        "data set",
        "images",
        "metric",
        "ours",
        "95 % interval",
        "centre",
        "bright",
        "bright x centre",
        "published",
    )
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    print(table)
    if arguments.output:
        arguments.output.write_text(table + "\n")


BASELINES = ("centre", "bright", "bright x centre")


def measure(name: str, entries: list[Entry], detectors: list[AnomalyCLIP]) -> Iterator[list[str]]:
    """Rows of one data set; the detectors differ in their embeddings only."""
    detector = detectors[0]
    size = detector.image_size
    load, resize, load_mask = LoadSliced("image"), ResizeSliced("image", size), LoadMaskd("mask", size)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (detector.image_mean, detector.image_std))
    offsets = (torch.arange(size) - size / 2 + 0.5) / size
    centre = torch.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 0.25**2))
    ours = [f"ours {number}" for number in range(len(detectors))]
    maps: dict[str, list[np.ndarray]] = {kind: [] for kind in (*ours, *BASELINES)}
    scores: dict[str, list[float]] = {kind: [] for kind in (*ours, *BASELINES, *(f"{b} top" for b in BASELINES))}
    masks = []
    for entry in tqdm(entries, desc=name):
        (scan,), _ = find_scans([entry.image])
        item = load({"image": scan, "slice": 0})
        if item["failure"]:
            raise SystemExit(item["failure"])
        image = resize(item)["image"].as_tensor()
        mask = find_scans([entry.mask])[0][0] if entry.mask else None
        masks.append(load_mask({"mask": mask})["mask"][0].numpy() > 0)
        grey = image.mean(dim=0)
        for kind, values in zip(BASELINES, (centre, grey, grey * centre), strict=True):
            maps[kind].append(values.numpy())
            scores[kind].append(float(values.max()))
            scores[f"{kind} top"].append(float(values.flatten().topk(size * size // 100).values.mean()))
        for kind, each in zip(ours, detectors, strict=True):
            out = each(((image - mean) / std)[None])
            maps[kind].append(out.anomaly_map[0, 0].numpy())
            scores[kind].append(out.score.item())

    def row(metric: str, values: dict[str, float], interval: tuple[float, float], count: int) -> list[str]:
        published = PUBLISHED.get(name, {}).get(metric)
        best = [max(values[b], values.get(f"{b} top", 0.0)) for b in BASELINES]
        seeds = [100 * values[kind] for kind in ours]
        mean = f"{np.mean(seeds):.1f}" + (f" ({min(seeds):.1f} to {max(seeds):.1f})" if len(seeds) > 1 else "")
        span = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
        return [name, str(count), metric, mean, span, *(f"{100 * value:.1f}" for value in best), str(published or "")]

    labels = np.array([e.anomalous for e in entries])
    if 0 < labels.sum() < len(labels):
        values = {kind: auroc(s, labels) for kind, s in scores.items()}
        yield row("image AUROC", values, image_interval(np.array(scores[ours[0]]), labels), len(labels))
    known = [i for i, e in enumerate(entries) if e.mask or not e.anomalous]
    truth = np.stack([masks[i] for i in known])
    if truth.any():
        chosen = {kind: np.stack([m[i] for i in known]) for kind, m in maps.items()}
        roc_interval, pro_interval = pixel_intervals(chosen[ours[0]], truth)
        yield row("pixel AUROC", {k: auroc(m, truth) for k, m in chosen.items()}, roc_interval, len(known))
        yield row("AUPRO", {k: aupro(m, truth) for k, m in chosen.items()}, pro_interval, len(known))


def image_interval(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Bootstrap over images, within each class."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(labels), np.flatnonzero(~labels)]
    values = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rng.choice(g, len(g)) for g in groups])
        values.append(auroc(scores[drawn], labels[drawn]))
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def pixel_intervals(maps: np.ndarray, masks: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Bootstrap over images of pixel AUROC and AUPRO, from per-image histograms of the scores."""
    bins = np.minimum((maps * BINS).astype(int), BINS - 1)
    normal, anomalous, overlap, regions = [], [], [], []
    for b, m in zip(bins, masks, strict=True):
        numbered, count = label_regions(m, structure=np.ones((3, 3)))
        sizes = np.bincount(numbered.ravel())
        normal.append(np.bincount(b[~m], minlength=BINS))
        anomalous.append(np.bincount(b[m], minlength=BINS))
        overlap.append(np.bincount(b[m], weights=1 / sizes[numbered[m]], minlength=BINS))
        regions.append(count)
    counts = [np.array(x, dtype=float) for x in (normal, anomalous, overlap, regions)]
    rng = np.random.default_rng(0)
    roc, pro = [], []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(maps), len(maps))
        n, a, o, r = (c[drawn].sum(axis=0) for c in counts)
        if not r:
            continue
        fpr = np.append(0, np.cumsum(n[::-1]) / n.sum())
        roc.append(np.trapezoid(np.append(0, np.cumsum(a[::-1]) / a.sum()), fpr))
        curve = np.append(0, np.cumsum(o[::-1]) / r)
        grid = np.append(fpr[fpr < FPR_LIMIT], FPR_LIMIT)
        pro.append(np.trapezoid(np.interp(grid, fpr, curve), grid) / FPR_LIMIT)
    bounds = [tuple(float(v) for v in np.quantile(x, (0.025, 0.975))) for x in (roc, pro)]
    return bounds[0], bounds[1]  # type: ignore[return-value]


if __name__ == "__main__":
    main()
