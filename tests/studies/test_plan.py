"""The cells of a study."""

from __future__ import annotations

import pytest

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.plan import Plan, make_plan, used_data

from .made_up import made_up_study


def planned(study: Study) -> Plan:
    return make_plan(study, {name: name for name in used_data(study)})


def places(plan: Plan) -> list[tuple[str, str, str, int]]:
    return [(e.variant, e.source, e.target, e.seed) for e in plan.evaluations]


def test_what_learns_is_trained_once_per_source_and_seed() -> None:
    study = made_up_study(
        variants={"ours": {}, "again": {"model": {}}, "clip": {"method": "clip"}, "start": {"train": False}},
        learn_from=["mvtec", "visa"],
        measure_on=["headct", "visa"],
    )
    plan = planned(study)
    assert len(plan.trainings) == 2 * 3  # equal trainings of two variants are one
    expected = [
        (variant, source, target, seed)
        for variant in ("ours", "again")
        for source in ("mvtec", "visa")
        for seed in (0, 1, 2)
        for target in ("headct", "visa")
        if source != target
    ]
    expected += [("clip", "none", target, 0) for target in ("headct", "visa")]
    expected += [("start", "none", target, seed) for seed in (0, 1, 2) for target in ("headct", "visa")]
    assert places(plan) == expected


def test_a_tuned_chain_starts_from_the_one_before() -> None:
    study = made_up_study(
        learn_from=["mvtec", ["mvtec", "tn3k"]],
        measure_on=["tn3k", "mvtec"],
        within=True,
        profile={
            "seeds": [7],
            "data": {"mvtec": {"folder": "a"}, "tn3k": {"folder": "b", "learn_from": "training"}},
        },
    )
    plan = planned(study)
    # MVTec AD has no part of its own to learn from, so it is not measured on after it was learned from.
    assert places(plan) == [("ours", "mvtec", "tn3k", 7), ("ours", "mvtec > tn3k", "tn3k", 7)]
    first, second = plan.trainings.values()
    assert (first.start, second.start) == (None, first.key)
    assert [e.training for e in plan.evaluations] == [first.key, second.key]


def test_options_go_from_the_profile_to_the_method_to_the_variant() -> None:
    study = made_up_study(
        variants={"ours": {"model": {"sigma": 2.0}, "training": {"epochs": 3}}, "window": {"method": "winclip"}},
        profile={
            "model": {"image_size": 112, "sigma": 8.0},
            "methods": {"winclip": {"clip": "ViT-B-16-plus-240/laion400m_e31", "image_size": 240}},
            "training": {"epochs": 5, "learning_rate": 0.01},
        },
    )
    plan = planned(study)
    training = next(iter(plan.trainings.values()))
    assert training.options == {"method": "anomalyclip", "clip": "offline", "image_size": 112, "sigma": 2.0}
    assert training.training == {"epochs": 3, "learning_rate": 0.01}
    window = next(e for e in plan.evaluations if e.variant == "window")
    assert window.options["clip"] == "ViT-B-16-plus-240/laion400m_e31"
    assert window.options["image_size"] == 240


def test_a_cells_key_is_of_all_that_it_depends_on() -> None:
    def keys(hashes: dict[str, str], **changed: object) -> tuple[set[str], set[str]]:
        plan = make_plan(made_up_study(**changed), hashes)
        return set(plan.trainings), {e.key for e in plan.evaluations}

    hashes = {"mvtec": "1", "headct": "2", "brainmri": "3"}
    trainings, evaluations = keys(hashes)
    assert keys(hashes, variants={"other name": {}}) == (trainings, evaluations)
    same, other = keys({**hashes, "headct": "4"})
    assert same == trainings
    assert len(other & evaluations) == len(evaluations) / 2
    for changed in ({"model": {"sigma": 2.0}}, {"training": {"epochs": 3}}):
        found = keys(hashes, variants={"ours": changed})
        assert not found[0] & trainings
        assert not found[1] & evaluations
    assert not keys({**hashes, "mvtec": "5"})[1] & evaluations


def test_no_part_of_what_was_learned_from_is_measured_on_under_another_name() -> None:
    data = {
        "whole": {"folder": "a", "dataset": "clinicdb"},
        "halves": {"folder": "b", "dataset": "clinicdb", "split": 0.5},
        "mine": {"folder": "c", "dataset": "folder"},
        "again": {"folder": "c", "dataset": "folder", "images": 3},
        "other": {"folder": "d", "dataset": "folder"},
        "drawn": {"procedural": 8},
    }
    study = made_up_study(
        learn_from=["drawn", "whole", "halves", ["drawn", "mine"]],
        measure_on=["whole", "halves", "again", "other"],
        within=True,
        profile={"seeds": [0], "data": data},
    )
    assert [place[1:3] for place in places(planned(study))] == [
        *(("drawn", target) for target in ("whole", "halves", "again", "other")),
        *(("whole", target) for target in ("again", "other")),
        *(("halves", target) for target in ("halves", "again", "other")),
        *(("drawn > mine", target) for target in ("whole", "halves", "other")),
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"variants": {"ours": {"model": {"sigam": 2}}}}, "unknown option of model: sigam"),
        ({"variants": {"ours": {"training": {"epoch": 2}}}}, "unknown option of training: epoch"),
        ({"variants": {"ours": {"training": {"seed": 2}}}}, "unknown option of training: seed"),
        ({"measure_on": ["brain"]}, "no data set or group 'brain'"),
        ({"learn_from": ["headct"], "measure_on": ["headct"]}, "nothing to measure"),
        (
            {"measure_on": ["drawn"], "profile": {"data": {"drawn": {"procedural": 8}}}, "learn_from": ["drawn"]},
            "drawn is drawn, for learning only",
        ),
    ],
)
def test_mistakes(changed: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        planned(made_up_study(**changed))
