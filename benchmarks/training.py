"""Times the epochs of a training run with and without kept image features, and compares their losses.

Usage: python benchmarks/training.py [--clip offline] [--images 160] [--epochs 4]

The first epoch with kept features includes computing them. Images are procedural; the reading, the first epoch's and
the whole run's are wall times of this process.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from tabulate import tabulate

from anomalyclip_med.bundle import bundle_dir


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default="offline")
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    logging.getLogger("monai.bundle.workflows").setLevel(logging.WARNING)  # it writes to the stdout of its import
    rows = []
    curves = []
    for cache in (None, "memory"):
        # What the bundle tells is not of the report.
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            seconds, losses = run(arguments.clip, arguments.images, arguments.epochs, cache, Path(folder))
        curves.append(losses)
        later = sorted(seconds[1:])[len(seconds[1:]) // 2]
        rows.append((cache or "none", seconds[0], later, seconds[0] / later))
    headers = ("cache", "epoch 1 (s)", "later epochs, median (s)", "ratio")
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=".2f"))
    furthest = max(abs(a - b) / a for a, b in zip(*curves, strict=True))
    print(f"losses of {len(curves[0])} steps differ by at most {furthest:.1e} of their value")


def run(clip: str, images: int, epochs: int, cache: str | None, output: Path) -> tuple[list[float], list[float]]:
    """Seconds of each epoch, and the loss of each step."""
    configs = bundle_dir("anomalyclip_zero_shot") / "configs"
    workflow = ConfigWorkflow(
        config_file=[str(configs / name) for name in ("inference.json", "train.json")],
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        workflow_type="train",
        clip=clip,
        procedural=images,
        epochs=epochs,
        cache=cache,
        prompts="auto",  # brings the settings along
        device="cpu",
        output_dir=str(output),
    )
    workflow.initialize()
    workflow.parser.get_parsed_content("network")
    ends = [time.perf_counter()]
    losses: list[float] = []
    trainer: Engine = workflow.parser.get_parsed_content("train#trainer")  # computes the features, where they are kept
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: ends.append(time.perf_counter()))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"].item())
    )
    workflow.run()
    return [after - before for before, after in itertools.pairwise(ends)], losses


if __name__ == "__main__":
    main()
