"""Studies as they are written down: what is wrong is told with the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.studies.config import load_study
from anomalyclip_med.studies.plan import make_plan, used_data

from ..conftest import REPOSITORY

PROFILE = {
    "clip": "untrained",
    "seeds": [0, 1],
    "data": {"headct": {"folder": "a"}, "own": {"folder": "b", "dataset": "folder"}},
    "groups": {"both": ["headct", "own"]},
}
STUDY = {
    "name": "small",
    "title": "Small",
    "profile": "tiny",
    "variants": {"ours": {}},
    "learn_from": ["own"],
    "measure_on": ["both"],
    "tables": [{"metrics": ["image_auroc"]}],
}


def written(folder: Path, study: dict, profile: dict) -> Path:
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "tiny.yaml").write_text(yaml.safe_dump(profile))
    (folder / "small.yaml").write_text(yaml.safe_dump(study))
    return folder / "small.yaml"


def test_a_study_with_its_profile(tmp_path: Path) -> None:
    study = load_study(written(tmp_path, STUDY, PROFILE))
    assert study.profile.seeds == (0, 1)
    assert study.profile.members("both") == ("headct", "own")
    assert load_study(tmp_path / "small.yaml", "tiny") == study


@pytest.mark.parametrize(
    ("study", "profile", "message"),
    [
        ({"tabels": []}, {}, r"small\.yaml:\n  tabels: Extra inputs"),
        ({"variants": {"ours": {"modle": {}}}}, {}, r"variants\.ours\.modle: Extra inputs"),
        ({"variants": {"ours": {"method": "clop"}}}, {}, r"no such method: clop; there are anomalyclip"),
        (
            {"variants": {"ours": {"published": "clip-ac"}}},
            {},
            r"published of 'clip-ac'; of anomalyclip, clip, clip_ac",
        ),
        ({}, {"seeds": [0, 0]}, r"seeds: one stands there twice"),
        ({"tables": [{"metrics": ["dice"]}]}, {}, r"tables\.0\.metrics\.0: Input should be 'image_auroc'"),
        ({"tables": [{"metrics": ["image_ap"], "rows": "target", "columns": "target"}]}, {}, "rows and columns"),
        ({}, {"sedes": [0]}, r"tiny\.yaml:\n  sedes: Extra inputs"),
        ({}, {"data": {"heatct": {"folder": "a"}}}, "heatct"),
        ({}, {"data": {"headct": {"folder": "a", "split": 1.5}}}, r"data\.headct\.split"),
        ({}, {"data": {"headct": {}}}, "needs either folder or procedural"),
        ({}, {"groups": {"all": ["headct", "mvtec"]}}, r"groups\.all: no such data set: mvtec"),
        ({"profile": "none"}, {}, r"none\.yaml: not a readable YAML file"),
    ],
)
def test_mistakes_are_told_by_file_and_key(tmp_path: Path, study: dict, profile: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_study(written(tmp_path, STUDY | study, PROFILE | profile))


def test_yaml_cannot_build_objects(tmp_path: Path) -> None:
    path = written(tmp_path, STUDY, PROFILE)
    path.write_text("name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigurationError, match="not a readable YAML"):
        load_study(path)


@pytest.mark.parametrize("profile", ["offline", "full"])
@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs" / "studies").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_studies_of_the_project_can_be_planned(path: Path, profile: str) -> None:
    """With either profile: the one line that makes a study full-size."""
    study = load_study(path, profile)
    assert study.name == path.stem
    plan = make_plan(study, {name: name for name in used_data(study)})
    assert {cell.variant for cell in plan.evaluations} == set(study.variants)
    assert {cell.seed for cell in plan.trainings.values()} in ({0, 1, 2}, set())


def test_the_full_profile_measures_whole_sets_at_one_size() -> None:
    """What stands beside figures of whole sets is of whole sets, and an ablation changes nothing but its module."""
    for path in sorted((REPOSITORY / "configs" / "studies").glob("*.yaml")):
        study = load_study(path, "full")
        plan = make_plan(study, {name: name for name in used_data(study)})
        compared = {e.target for e in plan.evaluations if study.variants[e.variant].published}
        assert all(study.profile.data[t].split is None and study.profile.data[t].images is None for t in compared)
        if any(variant.paper for variant in study.variants.values()):
            assert {e.options["image_size"] for e in plan.evaluations} == {518}
