"""Seconds per image of a detector's forward pass.

Usage: python benchmarks/forward.py [--clip NAME] [--image-size PIXELS ...] [--batch-size N] [--runs N] [--device NAME]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from tabulate import tabulate

from anomalyclip_med import create_model


def main() -> None:
    """Time the forward pass and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default="untrained")
    parser.add_argument("--image-size", type=int, nargs="+", default=[518])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    rows = []
    for size in arguments.image_size:
        detector = create_model(arguments.clip, "auto", image_size=size).to(arguments.device)
        images = torch.randn(arguments.batch_size, 3, size, size, device=arguments.device)
        detector(images)  # warm up
        seconds = []
        for _ in range(arguments.runs):
            start = time.perf_counter()
            detector(images).score.cpu()  # waits for the device
            seconds.append((time.perf_counter() - start) / len(images))
        spread = f"{min(seconds):.3f} to {max(seconds):.3f}"
        rows.append((arguments.clip, size, arguments.batch_size, f"{statistics.median(seconds):.3f}", spread))
    headers = ("clip", "pixels", "batch", "s/image, median", "range")
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
