"""The estimate of a study's time: what is computed once counts once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anomalyclip_med.studies import estimate as estimating
from anomalyclip_med.studies.estimate import Costs, Estimate, estimate
from anomalyclip_med.studies.plan import make_plan, used_data

from .made_up import made_up_study


def test_images_count_once_per_network_and_drawn_ones_once_per_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def probe(options: dict[str, Any], device: str | None) -> Costs:
        threads.append(torch.get_num_threads())
        return Costs(encode=1.0, step=0.01, score=0.0)

    monkeypatch.setattr(estimating, "probe", probe)
    monkeypatch.setattr(estimating, "_CELL", 0.0)
    study = made_up_study(
        variants={
            "ours": {},
            "words": {"model": {"prompt_config": {"deep_depth": 1}}},
            "layer": {"model": {"dpam": "qq"}},
        },
        learn_from=["drawn", "mvtec"],
        measure_on=["headct"],
        profile={
            "seeds": [0, 1],
            "training": {"epochs": 2, "batch_size": 4},
            "data": {"drawn": {"procedural": 8}, **{name: {"folder": name} for name in ("mvtec", "headct")}},
        },
    )
    plan = make_plan(study, {name: name for name in used_data(study)})
    before = torch.get_num_threads()
    found = estimate(plan, {"drawn": (8, 0), "mvtec": (30, 50), "headct": (7, 9)}, "cpu", threads=1)
    # Two networks, as prompts change nothing of an image. 30 images are 8 batches of 4, half as long as those of 8.
    assert found == Estimate(2 * (2 * 8 + 30 + 9), pytest.approx(3 * 2 * 2 * (2 + 8) * 0.005), 0.0)
    assert threads == [1]
    assert torch.get_num_threads() == before
