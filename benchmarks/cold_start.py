"""Seconds from the command to the first heat map: a new process that scores one picture.

Usage: python benchmarks/cold_start.py [--clip NAME] [--compact NAME] [--runs N]

One row is the detector of --clip as 'score' builds it, the other the compact file of --compact, which is made first
and not timed. The files of Python's packages and of the weights come from the disk's cache in all runs but, maybe, the
first. Where other processes keep the machine busy, the seconds of the processor tell more than those of the clock.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tabulate import tabulate


def processor_seconds() -> float:
    """User and system time of all processes that have been started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run the command several times for each row and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default="offline")
    parser.add_argument("--compact", default="ViT-L-14-336/untrained")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()

    command = [sys.executable, "-m", "anomalyclip_med.cli"]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        picture, compact = Path(temporary) / "picture.png", Path(temporary) / "detector.safetensors"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (512, 512), dtype=np.uint8)).save(picture)
        export = [*command, "export", str(compact), "--clip", arguments.compact, "--prompts", "auto"]
        subprocess.run(export, check=True, capture_output=True)
        models = {
            arguments.clip: ["--clip", arguments.clip],
            f"{arguments.compact}, compact": ["--model", str(compact)],
        }
        for name, options in models.items():
            seconds, processor = [], []
            for run in range(arguments.runs):
                output = Path(temporary) / f"{len(rows)}_{run}"
                start, used = time.perf_counter(), processor_seconds()
                score = [*command, "score", str(picture), "-o", str(output), *options]
                subprocess.run(score, check=True, capture_output=True)
                seconds.append(time.perf_counter() - start)
                processor.append(processor_seconds() - used)
            numbers = (seconds[0], statistics.median(seconds), max(seconds), statistics.median(processor))
            rows.append((name, *(f"{value:.1f}" for value in numbers)))
    print(
        tabulate(rows, ("detector", "s, first run", "s, median", "s, slowest", "processor s, median"), tablefmt="pipe")
    )


if __name__ == "__main__":
    main()
