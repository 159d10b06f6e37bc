"""Images per second of a detector's forward pass.

Usage: python benchmarks/forward.py [--clip NAME] [--image-size PIXELS] [--batch-size N] [--runs N] [--device DEVICE]
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
    parser.add_argument("--image-size", type=int, default=518)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    detector = create_model(arguments.clip, image_size=arguments.image_size).to(arguments.device)
    images = torch.randn(arguments.batch_size, 3, arguments.image_size, arguments.image_size, device=arguments.device)
    detector(images)  # warm up
    rates = []
    for _ in range(arguments.runs):
        start = time.perf_counter()
        detector(images).score.cpu()  # waits for the device
        rates.append(len(images) / (time.perf_counter() - start))
    row = (
        arguments.clip,
        arguments.image_size,
        arguments.batch_size,
        f"{statistics.median(rates):.2f}",
        f"{min(rates):.2f} - {max(rates):.2f}",
    )
    print(tabulate([row], ("clip", "pixels", "batch", "images/s (median)", "range"), tablefmt="pipe"))


if __name__ == "__main__":
    main()
