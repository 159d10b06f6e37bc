"""Sheets of a study: a few images of each target with the maps of all variants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import default_collate

from anomalyclip_med.engines import LabelledImages, PromptTraining, prepare_batch, remember
from anomalyclip_med.factory import create_model
from anomalyclip_med.studies.cells import Workplace, references
from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.figures import comparison_sheet
from anomalyclip_med.studies.plan import JOINT, Evaluation, Plan
from anomalyclip_med.studies.report import sheet_file
from anomalyclip_med.transforms import LoadMaskd, LoadSliced, ResizeSliced


def write_sheets(study: Study, plan: Plan, workplace: Workplace, failures: Mapping[str, str]) -> None:
    """Draw a sheet per target: of each variant the maps of its first source and seed, and of its first tuning.

    Args:
        study: says how many images.
        plan: its cells.
        workplace: where they were run.
        failures: cells without a result.
    """
    if not study.sheets:
        return
    complete = [cell for cell in plan.evaluations if cell.key not in failures]
    for target in dict.fromkeys(cell.target for cell in complete):
        cells = columns([cell for cell in complete if cell.target == target])
        _write_sheet(target, cells, workplace, study.sheets)


def columns(cells: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """What is shown of the cells of a target, by its title.

    Args:
        cells: in the order of the plan.
    """
    first: dict[tuple[str, bool], Evaluation] = {}
    for cell in cells:
        first.setdefault((cell.variant, JOINT in cell.source), cell)
    tuned = any(JOINT in cell.source for cell in cells)
    return {f"{cell.variant}, {cell.source}" if tuned else cell.variant: cell for cell in first.values()}


def _write_sheet(target: str, cells: Mapping[str, Evaluation], workplace: Workplace, count: int) -> None:
    datalist = workplace.datalist(target)
    chosen = choose_images(json.loads(datalist.read_text(encoding="utf-8"))["test"], count)
    maps: dict[str, np.ndarray] = {}
    scores: dict[str, list[float]] = {}
    pictures: list[Tensor] = []
    for variant, cell in cells.items():
        prompts = workplace.cell(cell.training) / "prompts.safetensors" if cell.training else None
        detector = create_model(**cell.options, prompts=prompts, seed=cell.seed)
        remember(detector, references(cell, workplace), LoadSliced("image"), "cpu")
        network = PromptTraining(detector).eval()
        size = detector.image_size
        transform = Compose([LoadSliced("image"), ResizeSliced("image", size), LoadMaskd("mask", size)])
        images = LabelledImages(datalist, workplace.roots[target], "test", transform)
        batch = default_collate([images[i] for i in chosen])
        inputs, targets, _, named = prepare_batch(batch, torch.device("cpu"))
        with torch.no_grad():
            found = network(inputs, **named)
        pictures = pictures or [inputs, targets.masks, targets.labels]  # of the first one's size, as all others
        maps[variant] = F.interpolate(found[:, :1], pictures[0].shape[2:], mode="bilinear")[:, 0].numpy()
        scores[variant] = found[:, 1, 0, 0].tolist()
    shown, masks, labels = pictures
    figure = comparison_sheet(
        shown.permute(0, 2, 3, 1).numpy(), masks.numpy() > 0, labels.bool().tolist(), maps, scores, target
    )
    figure.savefig(workplace.folder / sheet_file(target), dpi=120)


def choose_images(entries: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """Places of the images that are shown: one normal image, if there is one, and anomalous ones at equal distances.

    Args:
        entries: of a data list; anomalous ones with a mask are preferred.
        count: of images.
    """
    normal = [i for i, entry in enumerate(entries) if not entry["label"]][:1]
    anomalous = [i for i, entry in enumerate(entries) if entry["label"]]
    marked = [i for i in anomalous if entries[i].get("mask")] or anomalous
    places = np.linspace(0, len(marked) - 1, max(0, min(count - len(normal), len(marked)))).round().astype(int)
    return [*normal, *(marked[place] for place in places)][:count]
