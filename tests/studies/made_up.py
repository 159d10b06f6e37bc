"""Studies and results that are made up for the tests."""

from __future__ import annotations

from typing import Any

from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.results import Result

DATA = ("mvtec", "visa", "headct", "brainmri", "clinicdb", "tn3k")


def made_up_study(**changed: Any) -> Study:
    """A study of AnomalyCLIP with three seeds; what is named takes the place of its content."""
    profile = {"clip": "offline", "seeds": [0, 1, 2], "data": {name: {"folder": name} for name in DATA}}
    content = {
        "name": "made_up",
        "title": "Made up",
        "variants": {"ours": {"published": "anomalyclip"}},
        "learn_from": ["mvtec"],
        "measure_on": ["headct", "brainmri"],
        "tables": [{"metrics": ["image_auroc"]}],
    }
    content["profile"] = profile | changed.pop("profile", {})
    return Study.model_validate(content | changed)


def made_up_result(
    variant: str, target: str, seed: int, metric: str, value: float | None, source: str = "mvtec", **changed: Any
) -> Result:
    """A figure of a cell; its mean over classes, unless said otherwise."""
    content: dict[str, Any] = {
        "study": "made_up",
        "variant": variant,
        "method": "anomalyclip",
        "source": source,
        "target": target,
        "dataset": target,
        "seed": seed,
        "class_name": "mean",
        "metric": metric,
        "value": value,
        "images": 200,
        "anomalous": 100,
        "clip": "offline",
        "clip_sha256": "0123456789abcdef" * 4,
        "trained": True,
        "prompts_sha256": "",
        "learned_from_sha256": "",
        "datalist_sha256": "",
        "package_version": "0.1.0",
        "cell": "cells/0",
        "error": "",
    }
    return Result(**content | changed)


def over_seeds(
    variant: str, target: str, metric: str, percents: list[float], source: str = "mvtec", **changed: Any
) -> list[Result]:
    """Figures in percent of the seeds 0, 1, ..."""
    return [
        made_up_result(variant, target, seed, metric, percent / 100, source, **changed)
        for seed, percent in enumerate(percents)
    ]


def failure(variant: str, target: str, seed: int, source: str = "mvtec", error: str = "no weights") -> Result:
    """The row of a cell that failed."""
    return made_up_result(
        variant, target, seed, "", None, source, error=error, images=0, anomalous=0, trained=False, clip_sha256=""
    )
