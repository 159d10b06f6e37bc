"""The cells of a study, run as what they are: trainings and evaluations of the zero-shot bundle."""

from __future__ import annotations

import contextlib
import json
import random
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalyclip_med.errors import AnomalyClipMedError, ConfigurationError
from anomalyclip_med.studies.plan import Evaluation, Training
from anomalyclip_med.writers.files import replaced

_DONE = "done.json"
_BUNDLE = "anomalyclip_zero_shot"


@dataclass(frozen=True)
class Workplace:
    """Where a study is run.

    Attributes:
        folder: of the study's results.
        features: folder of kept image features.
        roots: folder of each data set by its name in the profile.
        procedural: images of each set that is drawn.
        device: for PyTorch; None for the bundle's choice.
        threads: of each process; None for PyTorch's choice.
    """

    folder: Path
    features: Path
    roots: dict[str, str]
    procedural: dict[str, int]
    device: str | None
    threads: int | None

    def datalist(self, name: str) -> Path:
        """The data list of a data set."""
        return self.folder / "data" / f"{name}.json"

    def cell(self, key: str) -> Path:
        """Folder of a cell."""
        return self.folder / "cells" / key

    def done(self, key: str) -> bool:
        """Whether a cell is complete."""
        return (self.cell(key) / _DONE).exists()


def run_cell(cell: Training | Evaluation, workplace: Workplace) -> str:
    """Run one cell; what it prints goes to ``log.txt`` in its folder.

    A training that was interrupted goes on in the middle.

    Returns:
        Why it failed, "" where it did not.
    """
    from anomalyclip_med.bundle import run_bundle  # here: planning does without MONAI

    folder = workplace.cell(cell.key)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with _into(folder / "log.txt"):
        try:
            files, options = _training(cell, workplace) if isinstance(cell, Training) else _evaluation(cell, workplace)
            if workplace.device:
                options["device"] = workplace.device
            print("options:", json.dumps(options, default=str), flush=True)
            run_bundle(_BUNDLE, files, output_dir=str(folder), **options)
        except AnomalyClipMedError as error:
            print(f"failed: {error}")
            return str(error)
        except Exception as error:
            # One cell that fails must not end the study: the rest is worth as much without it.
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"
    record = {"kind": type(cell).__name__.lower(), "files": files, "options": options}
    with replaced(folder / _DONE) as file:
        file.write(json.dumps(record | {"seconds": time.perf_counter() - start}, indent=1, default=str) + "\n")
    return ""


def start_process(workplace: Workplace) -> None:
    """Set a process up that will run cells."""
    if workplace.threads:
        import torch

        torch.set_num_threads(workplace.threads)


def _training(cell: Training, workplace: Workplace) -> tuple[list[str], dict[str, Any]]:
    prompts = workplace.cell(cell.start) / "prompts.safetensors" if cell.start else None
    if drawn := workplace.procedural.get(cell.source):
        images: dict[str, Any] = {"procedural": drawn}
    else:
        images = {
            "datalist": str(workplace.datalist(cell.source)),
            "dataset_dir": workplace.roots[cell.source],
            "section": "training",
        }
    return ["inference.json", "train.json"], {
        "cache": str(workplace.features),
        **cell.options,
        **cell.training,
        "prompts": str(prompts) if prompts else None,
        "seed": cell.seed,
        **images,
    }


def _evaluation(cell: Evaluation, workplace: Workplace) -> tuple[list[str], dict[str, Any]]:
    prompts = workplace.cell(cell.training) / "prompts.safetensors" if cell.training else None
    return ["inference.json", "evaluate.json"], {
        "cache": str(workplace.features),
        "intervals": False,
        **cell.options,
        "prompts": str(prompts) if prompts else None,
        "seed": cell.seed,
        "references": references(cell, workplace),
        "datalist": str(workplace.datalist(cell.target)),
        "dataset_dir": workplace.roots[cell.target],
        "section": "test",
    }


def references(cell: Evaluation, workplace: Workplace) -> list[str] | None:
    """Files of normal images of the target that are not measured on, drawn by the seed; None for none.

    Raises:
        ConfigurationError: there are too few, or they are of several classes.
    """
    if not cell.references:
        return None
    entries = json.loads(workplace.datalist(cell.target).read_text(encoding="utf-8"))["training"]
    if len({entry["class"] for entry in entries}) > 1:
        raise ConfigurationError(f"{cell.target}: references are of one class, and it has several")
    normal = sorted(entry["image"] for entry in entries if entry["label"] == 0)
    if len(normal) < cell.references:
        raise ConfigurationError(f"{cell.target}: {len(normal)} normal images are kept apart, not {cell.references}")
    root = Path(workplace.roots[cell.target])
    return [str(root / image) for image in random.Random(cell.seed).sample(normal, cell.references)]


@contextlib.contextmanager
def _into(path: Path) -> Iterator[None]:
    """What is printed meanwhile goes into a file, progress bars too."""
    with path.open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield
    sys.stdout.flush()
