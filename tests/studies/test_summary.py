"""Figures over seeds, and means over what all have: against sums done by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.studies.summary import Key, Summary, axis_labels, mean_over, pooled, summarise, summary_rows

from .made_up import failure, made_up_result, made_up_study, over_seeds

HEADCT = Key("ours", "mvtec", "headct", "image_auroc")


def complete(*percents: float) -> Summary:
    return Summary(dict(enumerate(percents)), frozenset(range(len(percents))))


def test_mean_and_deviation_are_those_of_the_sample() -> None:
    results = over_seeds("ours", "headct", "image_auroc", [90, 92, 94])
    classes = [replace(result, class_name="brain", value=0.1) for result in results]
    (row,) = summary_rows(summarise([*classes, *results], made_up_study()), made_up_study())
    # Squared deviations 4, 0 and 4 over n - 1 = 2: a deviation of 2, where n would give 1.63.
    numbers = {"mean": pytest.approx(92), "sd": pytest.approx(2), "seeds": 3, "seeds_wanted": 3, "state": "complete"}
    assert row == HEADCT._asdict() | numbers


def test_fewer_seeds_are_never_taken_for_all() -> None:
    two = over_seeds("ours", "headct", "image_auroc", [90, 92])
    for results in (two, [*two, failure("ours", "headct", 2)]):
        summary = summarise(results, made_up_study())[HEADCT]
        assert summary.state == "partial"
        assert summary.mean == pytest.approx(91)
        assert summary.deviation == pytest.approx(math.sqrt(2))


def test_why_there_is_no_figure() -> None:
    nothing = [failure("ours", "headct", seed) for seed in range(3)]
    found = summarise([*nothing, made_up_result("ours", "brainmri", 0, "image_auroc", None)], made_up_study())
    assert {key.target: summary.state for key, summary in found.items()} == {
        "headct": "failed",
        "brainmri": "undefined",
    }


def test_a_failure_counts_for_the_metrics_that_its_target_has() -> None:
    study = made_up_study(variants={"ours": {}, "theirs": {"method": "vand"}})
    results = over_seeds("ours", "headct", "image_ap", [90, 92, 94])
    results += [made_up_result("ours", "headct", seed, "pixel_auroc", None) for seed in range(3)]
    results += [failure("theirs", "headct", seed) for seed in range(3)]
    found = summarise(results, study)
    assert [key.metric for key in found if key.variant == "theirs"] == ["image_ap"]


def test_seeds_are_wanted_of_what_can_learn() -> None:
    study = made_up_study(variants={"start": {"train": False}, "clip": {"method": "clip"}})
    results = [made_up_result(name, "headct", 0, "image_auroc", 0.5, "none") for name in study.variants]
    states = {key.variant: summary.state for key, summary in summarise(results, study).items()}
    assert states == {"start": "partial", "clip": "complete"}


@pytest.mark.parametrize("change", [{"study": "another"}, {"variant": "old"}, {"target": "tn3k"}, {"seed": 7}])
def test_results_of_another_study_are_refused(change: dict) -> None:
    (result,) = over_seeds("ours", "headct", "image_auroc", [90])
    with pytest.raises(ConfigurationError, match=f"the {next(iter(change))} "):
        summarise([replace(result, **change)], made_up_study())


def test_pooled_figures_are_means_within_a_seed() -> None:
    mean = pooled([complete(90, 94), complete(80, 88)])
    assert mean.values == {0: 85, 1: 91}
    assert mean.mean == 88
    assert mean.deviation == pytest.approx(math.sqrt(18))
    assert pooled([complete(90, 94), Summary({0: 80.0}, frozenset({0, 1}))]).state == "partial"


def test_lines_are_compared_over_what_all_have() -> None:
    partial = Summary({0: 10.0}, frozenset({0, 1}))
    lines = {
        "a": {"x": complete(90, 90), "y": complete(70, 70), "z": complete(50, 50)},
        "b": {"x": complete(80, 80), "y": complete(60, 60)},
        "c": {"x": complete(40, 40), "y": partial},
        "failed": {"x": Summary({}, frozenset({0, 1}), frozenset({0, 1}))},
    }
    means, kept = mean_over(lines)
    assert kept == ("x",)
    assert {name: mean.mean for name, mean in means.items()} == {"a": 90, "b": 80, "c": 40, "failed": None}
    assert means["failed"].state == "failed"


def test_what_learns_nothing_stands_beside_every_source() -> None:
    lines = {"clip": {"none": complete(50)}, "ours": {"mvtec": complete(90, 92), "visa": complete(80, 82)}}
    means, kept = mean_over(lines)
    assert kept == ("mvtec", "visa")
    assert means["clip"].mean == 50
    assert means["ours"].values == {0: 85, 1: 87}


def test_order_is_the_study_s() -> None:
    study = made_up_study(
        profile={"groups": {"heads": ["headct", "brainmri"]}},
        learn_from=["visa", ["visa", "heads"], "mvtec"],
        measure_on=["clinicdb", "heads"],
    )
    sources = ["mvtec", "visa > brainmri", "none", "visa > headct", "visa"]
    keys = [Key("ours", source, "clinicdb", "image_auroc") for source in sources]
    assert axis_labels("target", study, keys) == ["clinicdb", "headct", "brainmri"]
    assert axis_labels("source", study, keys) == ["none", "visa", "visa > headct", "visa > brainmri", "mvtec"]


def test_differences_are_taken_seed_by_seed() -> None:
    change = complete(90, 93, 96).minus(complete(80, 82, 84))
    assert change.values == {0: 10, 1: 11, 2: 12}
    assert change.deviation == pytest.approx(1)  # unpaired it would be the root of 13
    assert complete(90, 93, 96).minus(complete(80)).values == {0: 10, 1: 13, 2: 16}  # what learns nothing has one
    assert Summary({0: 90.0}, frozenset({0, 1})).minus(complete(80, 82)).state == "partial"
