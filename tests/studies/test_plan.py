"""The cells of a study."""

from __future__ import annotations

from pathlib import Path

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


def test_a_recipe_is_of_one_method_and_maybe_one_source() -> None:
    study = made_up_study(
        variants={"ours": {}, "VAND": {"method": "vand"}, "longer": {"method": "vand", "training": {"epochs": 99}}},
        learn_from=["mvtec", "visa"],
        profile={
            "seeds": [0],
            "training": {"epochs": 5, "batch_size": 4},
            "recipes": [
                {"method": "vand", "training": {"epochs": 15}},
                {"method": "vand", "source": "mvtec", "training": {"epochs": 3, "mosaic": 0.2}},
            ],
        },
    )
    plan = planned(study)
    found = {(e.variant, e.source): plan.trainings[e.training].training for e in plan.evaluations if e.training}
    ours, other = {"epochs": 5, "batch_size": 4}, {"epochs": 15, "batch_size": 4}
    mosaic = {"epochs": 3, "batch_size": 4, "mosaic": 0.2}
    assert found == {
        ("ours", "mvtec"): ours,
        ("ours", "visa"): ours,
        ("VAND", "mvtec"): mosaic,
        ("VAND", "visa"): other,
        ("longer", "mvtec"): mosaic | {"epochs": 99},
        ("longer", "visa"): other | {"epochs": 99},
    }


def test_references_have_seeds_and_a_part_that_is_kept_apart() -> None:
    variants = {"none": {"method": "winclip"}, "two": {"method": "winclip", "references": 2}}
    halves = {"data": {"mvtec": {"folder": "a"}, "headct": {"folder": "b", "split": 0.5}}}
    plan = planned(made_up_study(variants=variants, measure_on=["headct"], profile=halves))
    found = [(e.variant, e.seed, e.references) for e in plan.evaluations]
    assert found == [("none", 0, 0), *(("two", seed, 2) for seed in (0, 1, 2))]
    assert len(plan.cells) == 4
    with pytest.raises(ConfigurationError, match="'two': no part of headct is kept apart"):
        planned(made_up_study(variants=variants, measure_on=["headct"]))


def test_a_backbone_that_is_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    study = made_up_study(profile={"clip": str(tmp_path / "clip.safetensors")})
    keys = []
    for content in (b"1", b"2"):
        (tmp_path / "clip.safetensors").write_bytes(content)
        keys.append(set(planned(study).cells))
    assert not keys[0] & keys[1]


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
