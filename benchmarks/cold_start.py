"""Seconds from the command to the first heat map: a new process that scores one picture.

Usage: python benchmarks/cold_start.py [--clip NAME] [--runs N]

The files of Python's packages and of the weights come from the disk's cache in all runs but, maybe, the first.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate


def main() -> None:
    """Run the command several times and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default="offline")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()

    seconds = []
    with tempfile.TemporaryDirectory() as temporary:
        picture = Path(temporary) / "picture.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (512, 512), dtype=np.uint8)).save(picture)
        for run in range(arguments.runs):
            output = Path(temporary) / str(run)
            command = [sys.executable, "-m", "anomalyclip_med.cli", "score", str(picture), "-o", str(output)]
            start = time.perf_counter()
            subprocess.run([*command, "--clip", arguments.clip], check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    row = (arguments.clip, f"{seconds[0]:.1f}", f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}")
    print(tabulate([row], ("clip", "s, first run", "s, median", "s, slowest"), tablefmt="pipe"))


if __name__ == "__main__":
    main()
