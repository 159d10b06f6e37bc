"""How long a study will take, from a probe of each network with random weights: nothing is downloaded for it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tabulate import tabulate

from anomalyclip_med.engines import PromptTraining
from anomalyclip_med.errors import AnomalyClipMedError
from anomalyclip_med.factory import create_model
from anomalyclip_med.losses import AnomalyCLIPLoss, LossTerms, Targets
from anomalyclip_med.studies.plan import Plan

_BATCH = 8
_EPOCHS = 15
_CELL = 1.5
"""Seconds that a cell takes beside its images: building the network, reading lists, writing results."""
_TIMED = ("method", "clip", "image_size", "flip", "scales", "skip_background", "precision")
"""Options that what an image takes depends on."""
_TEXT_ONLY = {"prompt_config", "class_name", "sigma", "score", "top_fraction"}
"""Options that do not change what is computed of an image before the texts."""


@dataclass(frozen=True)
class Costs:
    """What one network takes, in seconds.

    Attributes:
        encode: per image, once.
        step: per training step of 8 images, from kept features; 0 where nothing is learned.
        score: per image, from kept features.
    """

    encode: float
    step: float
    score: float


@dataclass(frozen=True)
class Estimate:
    """The time of a study on one process, in seconds.

    Attributes:
        encoding: of images.
        training: of prompts, from kept features.
        evaluating: from kept features, with the metrics.
    """

    encoding: float
    training: float
    evaluating: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.encoding + self.training + self.evaluating


def estimate(
    plan: Plan, images: Mapping[str, tuple[int, int]], device: str | None, threads: int | None = None
) -> Estimate:
    """Measure what each network takes, and add up.

    Args:
        plan: the cells.
        images: of each data set, how many are learned from and how many measured on; drawn ones are never measured on.
        device: for PyTorch; None for a GPU where there is one.
        threads: that each process will have; None for PyTorch's choice.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _estimate(plan, images, device)
    finally:
        torch.set_num_threads(before)


def _estimate(plan: Plan, images: Mapping[str, tuple[int, int]], device: str | None) -> Estimate:
    probed: dict[str, Costs] = {}

    def costs(options: Mapping[str, Any]) -> Costs:
        key = repr([options.get(name) for name in _TIMED])
        if key not in probed:
            try:
                probed[key] = probe(options, device)
            except AnomalyClipMedError:
                return Costs(0.0, 0.0, 0.0)  # its cell will fail and say why
        return probed[key]

    encoded: dict[tuple[str, str, object], float] = {}
    training = evaluating = 0.0
    for cell in plan.trainings.values():
        (count, measured), cost = images[cell.source], costs(cell.options)
        part = "training" if measured else cell.seed  # with which others are drawn
        encoded[_image_side(cell.options), cell.source, part] = count * cost.encode
        epochs, batch = cell.training.get("epochs", _EPOCHS), cell.training.get("batch_size", _BATCH)
        training += _CELL + epochs * math.ceil(count / batch) * cost.step * batch / _BATCH
    for evaluation in {e.key: e for e in plan.evaluations}.values():
        count, cost = images[evaluation.target][1], costs(evaluation.options)
        encoded[_image_side(evaluation.options), evaluation.target, "test"] = count * cost.encode
        evaluating += _CELL + count * cost.score
    return Estimate(sum(encoded.values()), training, evaluating)


def probe(options: Mapping[str, Any], device: str | None) -> Costs:
    """Measure one network, with random weights in place of those that would have to be downloaded.

    Args:
        options: of :func:`anomalyclip_med.create_model`.
        device: see :func:`estimate`.
    """
    name, slash, _ = str(options["clip"]).rpartition("/")
    stand_in = {"clip": f"{name}/untrained"} if slash and not name.startswith((".", "/", "~")) else {}
    detector = create_model(**{**options, **stand_in})
    on = torch.device(device or ("cuda:0" if torch.cuda.is_available() else "cpu"))
    network = PromptTraining(detector, terms=detector.losses[0] if detector.losses else LossTerms.LOCAL).to(on)
    size = detector.image_size
    images = torch.rand(2, 3, size, size, device=on)
    encode = _seconds(lambda: network.encode(images)) / len(images)
    features = {key: value.repeat_interleave(_BATCH // 2, dim=0) for key, value in network.encode(images).items()}
    network.eval()
    with torch.no_grad():
        score = _seconds(lambda: network(features)) / _BATCH
    step = 0.0
    if detector.losses:
        network.train()
        loss = AnomalyCLIPLoss(detector.losses[0])
        labels = torch.arange(_BATCH, device=on) % 2
        masks = labels[:, None, None].float().expand(-1, size, size)
        targets = Targets(labels, masks, torch.ones(_BATCH, dtype=torch.bool, device=on))
        step = _seconds(lambda: loss(network(features), targets).backward())
    return Costs(encode, step, score)


def show(plan: Plan, guess: Estimate, jobs: int, complete: int = 0) -> str:
    """The plan and its time as a few lines.

    Args:
        plan: what is left to do.
        guess: of it.
        jobs: processes.
        complete: cells that are done.
    """
    rows = [
        ("images, each network once", "", _time(guess.encoding)),
        ("trainings", len(plan.trainings), _time(guess.training)),
        ("evaluations", len({e.key for e in plan.evaluations}), _time(guess.evaluating)),
    ]
    table = tabulate(rows, ("", "cells", "time"), tablefmt="simple", disable_numparse=True)
    done = f"{complete} cells more are complete. " if complete else ""
    return f"{table}\n\n{done}About {_time(guess.total / jobs)} with {jobs} process{'es' if jobs > 1 else ''}."


def _image_side(options: Mapping[str, Any]) -> str:
    return repr(sorted((name, value) for name, value in options.items() if name not in _TEXT_ONLY))


def _seconds(run: Any) -> float:
    """The shortest of ten runs, as other work on the machine only adds; of fewer, where they take long."""
    times: list[float] = []
    while len(times) < 10 and sum(times) < 5:
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
