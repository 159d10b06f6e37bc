"""Time and memory of the pixel metrics, beside the reference's method and anomalib's.

Usage: python benchmarks/metrics.py [--maps 614] [--size 518] [--sample 4] [--anomalib PYTHON] [--pixels 1000000000]

The maps are smooth noise, lifted a little in one to five boxes per image. The reference's method (200 thresholds,
every region walked at each) is timed on a sample and its time per image is compared. PYTHON is an interpreter of an
environment of its own with anomalib; it computes AUPRO of the same maps. The last table is of a histogram over so
many pixels, beside exact figures of the first part of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import label, regionprops
from tabulate import tabulate

from anomalyclip_med.metrics import PixelHistogram, aupro, aupro_reference, auroc, pixel_ranking

_ANOMALIB = """
import json, sys, time, torch
library = torch.library.Library("torchvision", "FRAGMENT")  # torchvision's ordinary wheel on a CPU build of torch
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import numpy as np
from anomalib.metrics.aupro import _AUPRO
data = np.load(sys.argv[1])
maps, masks = torch.from_numpy(data["maps"]), torch.from_numpy(data["masks"]).float()
metric = _AUPRO(fpr_limit=0.3)
start = time.perf_counter()
metric.update(maps, masks)
value = float(metric.compute())
print(json.dumps({"seconds": time.perf_counter() - start, "value": value}))
"""


def pictures(count: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(count, size, size) float32 maps in [0, 1] and bool masks."""
    rng = np.random.default_rng(seed)
    # One large field of smooth noise, cut at random places: drawing each picture anew would take longer than measuring.
    field = gaussian_filter(rng.random((3 * size, 3 * size), dtype=np.float32), 4)
    field = (field - field.min()) / (field.max() - field.min())
    maps, masks = np.empty((count, size, size), np.float32), np.zeros((count, size, size), bool)
    for anomaly_map, mask in zip(maps, masks, strict=True):
        row, column = rng.integers(0, 2 * size, 2)
        anomaly_map[:] = field[row : row + size, column : column + size] * rng.uniform(0.6, 0.75)
        for _ in range(rng.integers(1, 6)):
            height, width = rng.integers(size // 12, size // 4, 2)
            row, column = rng.integers(0, size - height), rng.integers(0, size - width)
            mask[row : row + height, column : column + width] = True
        anomaly_map[mask] += 0.25 * rng.random()
    return maps, masks


def walk(maps: np.ndarray, masks: np.ndarray) -> float:
    """The reference's method with its arrays: every region at every threshold."""
    rates, overlaps = [], []
    low, high = maps.min(), maps.max()
    truth = masks.astype(int)
    above = np.zeros_like(maps, dtype=bool)
    for threshold in np.arange(low, high, (high - low) / 200):
        above[maps <= threshold] = 0
        above[maps > threshold] = 1
        shares = []
        for picture, mask in zip(above, truth, strict=True):
            for region in regionprops(label(mask)):
                shares.append(picture[region.coords[:, 0], region.coords[:, 1]].sum() / region.area)
        normal = 1 - truth
        rates.append(np.logical_and(normal, above).sum() / normal.sum())
        overlaps.append(np.mean(shares))
    kept = np.array(rates) < 0.3
    x, y = np.array(rates)[kept], np.array(overlaps)[kept]
    return float(np.trapezoid(y[::-1], (x[::-1] - x.min()) / (x.max() - x.min())))


def timed(work: Callable[[], float], runs: int = 1) -> tuple[float, float]:
    """The result and the least seconds of so many runs."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        value = work()
        seconds.append(time.perf_counter() - start)
    return value, min(seconds)


def peak() -> float:
    """GiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=614)
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--sample", type=int, default=4)
    parser.add_argument("--anomalib", type=Path, metavar="PYTHON")
    parser.add_argument("--pixels", type=int, default=10**9)
    arguments = parser.parse_args()

    histogram = PixelHistogram()
    maps, masks = pictures(64, arguments.size)
    images = -(-arguments.pixels // maps[0].size)
    start = time.perf_counter()
    for number in range(images):
        histogram.add(maps[number % 64], masks[number % 64])
    seconds, memory = time.perf_counter() - start, peak()
    counted, exact = histogram.ranking(), auroc(maps, masks)
    low, high = histogram.bounds()["auroc"]
    row = (f"{images * maps[0].size:.2e}", f"{seconds:.0f}", f"{memory:.2f}", f"{counted.auroc():.6f}")
    headers = ("pixels", "s", "GiB at peak", "pixel AUROC", "bounds", "exact, of the 64 maps that repeat")
    counted_table = tabulate(
        [(*row, f"{low:.6f} to {high:.6f}", f"{exact:.6f}")], headers, tablefmt="pipe", disable_numparse=True
    )

    maps, masks = pictures(arguments.maps, arguments.size)
    before = peak()
    value, seconds = timed(lambda: aupro(maps, masks), 3)
    _, all_seconds = timed(lambda: pixel_ranking(maps, masks).auroc())
    reference, one_pass = timed(lambda: aupro_reference(maps, masks))
    some, some_masks = maps[: arguments.sample], masks[: arguments.sample]
    walked, walk_seconds = timed(lambda: walk(some, some_masks))
    assert abs(walked - aupro_reference(some, some_masks)) < 1e-9
    per_image, walk_per_image = seconds / len(maps), walk_seconds / len(some)
    rows = [
        ("exact AUPRO", len(maps), f"{value:.4f}", f"{seconds:.2f}", f"{1e3 * per_image:.1f}", "1"),
        ("exact pixel AUROC", len(maps), "", f"{all_seconds:.2f}", f"{1e3 * all_seconds / len(maps):.1f}", ""),
        ("the reference's AUPRO in one pass", len(maps), f"{reference:.4f}", f"{one_pass:.2f}",
         f"{1e3 * one_pass / len(maps):.1f}", f"{one_pass / seconds:.1f}"),
        ("the reference's method", len(some), f"{walked:.4f}", f"{walk_seconds:.2f}", f"{1e3 * walk_per_image:.1f}",
         f"{walk_per_image / per_image:.0f}"),
    ]  # fmt: skip
    if arguments.anomalib:
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "maps.npz", maps=maps, masks=masks)
            command = [str(arguments.anomalib), "-c", _ANOMALIB, str(Path(folder) / "maps.npz")]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(
            ("anomalib's AUPRO", len(maps), f"{found['value']:.4f}", f"{found['seconds']:.2f}",
             f"{1e3 * found['seconds'] / len(maps):.1f}", f"{found['seconds'] / seconds:.0f}")
        )  # fmt: skip
    headers = ("what", "maps", "value", "s", "ms per map", "times as long")
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))
    print(f"\nMemory: {before:.2f} GiB with the maps and masks, {peak():.2f} GiB at the peak\n")
    print(counted_table)


if __name__ == "__main__":
    sys.exit(main())
