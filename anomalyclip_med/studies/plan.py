"""From a study to the cells that it is made of: trainings, and evaluations of what they learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from anomalyclip_med import __version__
from anomalyclip_med.bundle import bundle_dir
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.factory import METHODS
from anomalyclip_med.studies.config import Study, Variant
from anomalyclip_med.weights import file_sha256

NOTHING = "none"
"""The source of a variant that learns nothing."""
JOINT = " > "
"""Between the data sets of a source that are learned from one after the other."""

_OF_THE_RUN = {"datalist", "dataset_dir", "section", "output_dir", "cache", "seed", "prompts", "device", "method"}
"""Options of the bundle that the plan itself sets."""


@dataclass(frozen=True)
class Training:
    """One training of prompts.

    Attributes:
        key: of all that its result depends on; equal trainings of two variants are one.
        options: of the detector.
        training: of the training.
        source: name in the profile of what is learned from.
        seed: of the start and the order.
        start: key of the training whose prompts it starts from; None for the random start.
    """

    key: str
    options: dict[str, Any]
    training: dict[str, Any]
    source: str
    seed: int
    start: str | None


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Attributes:
        key: of all that its result depends on.
        options: of the detector.
        variant: name in the study.
        source: what was learned from, as the tables have it.
        target: name in the profile of what is measured on.
        seed: of the training, or of the random start; and of the references.
        training: key of the training; None where nothing was learned.
        references: normal images of the target that patches are compared with.
    """

    key: str
    options: dict[str, Any]
    variant: str
    source: str
    target: str
    seed: int
    training: str | None
    references: int


@dataclass(frozen=True)
class Plan:
    """All cells of a study.

    Attributes:
        trainings: by key, each after the one that it starts from.
        evaluations: in the order of the study.
    """

    trainings: dict[str, Training]
    evaluations: list[Evaluation]

    @property
    def cells(self) -> dict[str, Training | Evaluation]:
        """By key, what variants have in common once."""
        return {**self.trainings, **{cell.key: cell for cell in self.evaluations}}


def make_plan(study: Study, hashes: Mapping[str, str]) -> Plan:
    """List the cells.

    Args:
        study: the study.
        hashes: SHA-256 of the data list of each data set that the study uses.

    Raises:
        ConfigurationError: a name is not in the profile, a variant has an option that the bundle does not know, or
            there is nothing to measure.
    """
    trainings: dict[str, Training] = {}
    evaluations: list[Evaluation] = []
    targets = list(dict.fromkeys(name for entry in study.measure_on for name in study.profile.members(entry)))
    for name, variant in study.variants.items():
        options = _options(study, name, variant)
        weights = _local_weights(options["clip"])
        learns = bool(METHODS[variant.method].losses)
        chains = list(_chains(study)) if learns and variant.train else [()]
        for chain, seed in product(chains, study.profile.seeds if variant.seeded else (0,)):
            start = None
            for source in chain:
                images = study.profile.data[source].procedural or hashes[source]
                training = _training_options(study, name, variant, source)
                key = _key("training", [options, weights, training, images, seed, start])
                trainings[key] = Training(key, options, training, source, seed, start)
                start = key
            for target in targets:
                if any(_leaks(study, source, target) for source in chain):
                    continue
                references = variant.references
                if references and not study.profile.data[target].disjoint:
                    raise ConfigurationError(
                        f"{study.name}: variant {name!r}: no part of {target} is kept apart for the references: "
                        "give it a split, or learn_from: training"
                    )
                key = _key("evaluation", [options, weights, hashes[target], seed, start, references])
                label = JOINT.join(chain) or NOTHING
                evaluations.append(Evaluation(key, options, name, label, target, seed, start, references))
    if drawn := [name for name in targets if study.profile.data[name].procedural]:
        raise ConfigurationError(f"{study.name}: measure_on: {', '.join(drawn)} is drawn, for learning only")
    if not evaluations:
        raise ConfigurationError(f"{study.name}: nothing to measure: all targets are learned from")
    return Plan(trainings, evaluations)


def used_data(study: Study) -> list[str]:
    """Names in the profile of the data sets that a study uses.

    Raises:
        ConfigurationError: a name is not in the profile.
    """
    learned = [name for chain in _chains(study) for name in chain]
    measured = [name for entry in study.measure_on for name in study.profile.members(entry)]
    return list(dict.fromkeys([*learned, *measured]))


def _chains(study: Study) -> Iterator[tuple[str, ...]]:
    """What is learned from, one data set after the other."""
    for entry in study.learn_from:
        steps: Sequence[str] = (entry,) if isinstance(entry, str) else entry
        yield from product(*(study.profile.members(step) for step in steps))


def _leaks(study: Study, source: str, target: str) -> bool:
    """Whether images that are learned from could be measured on."""
    apart = study.within and source == target and study.profile.data[target].disjoint
    return study.profile.shared(source, target) and not apart


def _options(study: Study, name: str, variant: Variant) -> dict[str, Any]:
    """Options of the detector."""
    profile = study.profile
    of_method = profile.methods.get(variant.method, {})
    model = {"clip": profile.clip, **profile.model, **of_method, **variant.model}
    _check_known(study, name, "model", model, set(_config("inference.json")["detector"]) - {"_target_"})
    return {"method": variant.method, **model}


def _training_options(study: Study, name: str, variant: Variant, source: str) -> dict[str, Any]:
    """Options of the training on one source."""
    training = dict(study.profile.training)
    for recipe in study.profile.recipes:
        if recipe.method == variant.method and recipe.source in (None, source):
            training |= recipe.training
    training |= variant.training
    _check_known(study, name, "training", training, {key for key in _config("train.json") if "#" not in key})
    return training


def _config(file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle_dir("anomalyclip_zero_shot") / "configs" / file).read_text("utf-8"))
    return content


def _check_known(study: Study, name: str, kind: str, given: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(given.keys() - (known - _OF_THE_RUN)):
        raise ConfigurationError(f"{study.name}: variant {name!r}: unknown option of {kind}: {', '.join(unknown)}")


def _local_weights(clip: str) -> str | None:
    """SHA-256 of a backbone that is a file, which may change; what has a name does not."""
    path = Path(clip).expanduser()
    return file_sha256(path) if path.is_file() else None


def _key(kind: str, content: Any) -> str:
    text = json.dumps([kind, __version__, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
