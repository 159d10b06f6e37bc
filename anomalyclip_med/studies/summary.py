"""From the results of a study to figures over its seeds, and what is missing from them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.studies.config import Axis, Study
from anomalyclip_med.studies.plan import JOINT, NOTHING
from anomalyclip_med.studies.results import MEAN, Result

Place = TypeVar("Place", bound=Hashable)


class Key(NamedTuple):
    """What a figure over the seeds is of."""

    variant: str
    source: str
    target: str
    metric: str


@dataclass(frozen=True)
class Summary:
    """A figure over seeds, in percent.

    Attributes:
        values: by seed.
        seeds: that it should have values of.
        failed: seeds whose cell failed.
        undefined: whether the metric is undefined there, as an AUROC of images of one kind is.
    """

    values: Mapping[int, float]
    seeds: frozenset[int]
    failed: frozenset[int] = frozenset()
    undefined: bool = False

    @property
    def state(self) -> Literal["complete", "partial", "failed", "undefined"]:
        """Whether there is a value of each seed ("complete") or of some ("partial"), or else why there is none."""
        if self.values:
            return "complete" if set(self.values) == self.seeds else "partial"
        return "undefined" if self.undefined else "failed"

    @property
    def complete(self) -> bool:
        """Whether there is a value of each seed."""
        return self.state == "complete"

    @property
    def mean(self) -> float | None:
        """Over the seeds that there are."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None for fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    def minus(self, other: Summary) -> Summary:
        """The difference, seed by seed; what has one seed only, as what learns nothing, is the same for all."""
        seeds = max(self.seeds, other.seeds, key=len)
        ours, theirs = (
            dict.fromkeys(seeds, part.mean) if len(part.seeds) == 1 and part.mean is not None else part.values
            for part in (self, other)
        )
        return Summary(
            {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())},
            seeds,
            self.failed | other.failed,
            self.undefined or other.undefined,
        )


def summarise(results: Iterable[Result], study: Study) -> dict[Key, Summary]:
    """The means over classes, over their seeds.

    A method that can learn has all seeds of the study's profile, with its random start as well; the others have seed 0.
    A cell that failed lacks the metrics that its target has elsewhere.

    Raises:
        ConfigurationError: the results are not of this study.
    """
    values: dict[Key, dict[int, float | None]] = {}
    failed: dict[tuple[str, str, str], set[int]] = {}
    check = _checker(study)
    for result in results:
        check(result)
        if result.error:
            failed.setdefault((result.variant, result.source, result.target), set()).add(result.seed)
        elif result.class_name == MEAN:
            key = Key(result.variant, result.source, result.target, result.metric)
            values.setdefault(key, {})[result.seed] = None if result.value is None else 100 * result.value
    defined: dict[str, dict[str, None]] = {}
    for key, of_seed in values.items():
        if set(of_seed.values()) != {None}:
            defined.setdefault(key.target, {})[key.metric] = None
    wished = dict.fromkeys(metric for table in study.tables for metric in table.metrics)
    for variant, source, target in failed:
        for metric in defined.get(target) or wished:
            values.setdefault(Key(variant, source, target, metric), {})
    seeds = {
        name: frozenset(study.profile.seeds if variant.seeded else (0,)) for name, variant in study.variants.items()
    }
    return {
        key: Summary(
            {seed: value for seed, value in of_seed.items() if value is not None},
            seeds[key.variant],
            frozenset(failed.get(key[:3], ())),
            None in of_seed.values(),
        )
        for key, of_seed in values.items()
    }


def _checker(study: Study) -> Callable[[Result], None]:
    known: dict[str, Collection[Any]] = {
        "study": {study.name},
        "variant": study.variants,
        "target": set(axis_labels("target", study, ())),
        "seed": {0, *study.profile.seeds},
    }

    def check(result: Result) -> None:
        for name, values in known.items():
            if (found := getattr(result, name)) not in values:
                raise ConfigurationError(f"the results hold the {name} {found!r}, which study {study.name!r} has not")

    return check


def axis_labels(axis: Axis, study: Study, keys: Iterable[Key]) -> list[str]:
    """The variants and targets of a study, or the sources of the keys, in the study's order."""
    if axis == "variant":
        return list(study.variants)
    if axis == "target":
        return list(dict.fromkeys(name for entry in study.measure_on for name in study.profile.members(entry)))
    flat = [name for entry in study.learn_from for name in ((entry,) if isinstance(entry, str) else entry)]
    order = list(dict.fromkeys(member for name in flat for member in study.profile.members(name)))

    def place(source: str) -> list[int]:
        return [] if source == NOTHING else [order.index(n) if n in order else len(order) for n in members(source)]

    return sorted({key.source for key in keys}, key=lambda source: (place(source), source))


def members(source: str) -> list[str]:
    """The data sets of a source, in the order in which they were learned from."""
    return source.split(JOINT)


def pooled(parts: Sequence[Summary]) -> Summary:
    """The mean of several figures, seed by seed; of the seeds that all have."""
    shared = set.intersection(*(set(part.values) for part in parts))
    return Summary(
        {seed: statistics.fmean(part.values[seed] for part in parts) for seed in sorted(shared)},
        frozenset().union(*(part.seeds for part in parts)),
        frozenset().union(*(part.failed for part in parts)),
        any(part.undefined for part in parts),
    )


def mean_over(lines: Mapping[Place, Mapping[str, Summary]]) -> tuple[dict[Place, Summary], tuple[str, ...]]:
    """The mean of each line over the same members, so that the lines can be compared.

    A line of what learns nothing has its figure for every source, and does not tell which sources count.

    Args:
        lines: figures by data set or source.

    Returns:
        The means, none for a line that lacks a member, and the members: those that are complete in every line that
        has any complete one, or, where no line has, those that every line has.
    """
    telling = [of for of in lines.values() if set(of) != {NOTHING}]
    complete = [{name for name, part in of.items() if part.complete} for of in telling]
    sets = [names for names in complete if names] or [set(of) for of in telling]
    order = dict.fromkeys(name for of in telling for name in of)
    kept = [name for name in order if name in set.intersection(*sets)] if telling else []
    means = {}
    for place, of in lines.items():
        if set(of) == {NOTHING}:
            means[place] = of[NOTHING]
        elif kept and all(name in of for name in kept):
            means[place] = pooled([of[name] for name in kept])
    return means, tuple(kept)


def summary_rows(found: Mapping[Key, Summary], study: Study) -> list[dict[str, Any]]:
    """One row per variant, source, target and metric: mean and standard deviation in percent, and their seeds."""
    places = [axis_labels("variant", study, found), axis_labels("source", study, found)]
    places.append(axis_labels("target", study, found))
    order = sorted(found, key=lambda key: [labels.index(label) for labels, label in zip(places, key[:3], strict=True)])
    return [key._asdict() | numbers(found[key]) for key in order]


def numbers(summary: Summary | None) -> dict[str, Any]:
    """The columns of a figure in a CSV file."""
    if summary is None:
        return {"mean": None, "sd": None, "seeds": 0, "seeds_wanted": None, "state": "not measured"}
    return {
        "mean": rounded(summary.mean),
        "sd": rounded(summary.deviation),
        "seeds": len(summary.values),
        "seeds_wanted": len(summary.seeds),
        "state": summary.state,
    }


def rounded(percent: float | None) -> float | None:
    """To what a file keeps of it."""
    return None if percent is None else round(percent, 6)
