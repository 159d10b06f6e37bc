"""AnomalyCLIP's meta.json, written and read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalyclip_med.data.datasets import prepare
from anomalyclip_med.errors import ConfigurationError

from .conftest import Make

EXPECTED = {
    "train": {
        "bottle": [
            {
                "img_path": "bottle/train/good/000.png",
                "mask_path": "",
                "cls_name": "bottle",
                "specie_name": "good",
                "anomaly": 0,
            }
        ]
    },
    "test": {
        "bottle": [
            {
                "img_path": "bottle/test/broken_large/000.png",
                "mask_path": "bottle/ground_truth/broken_large/000_mask.png",
                "cls_name": "bottle",
                "specie_name": "broken_large",
                "anomaly": 1,
            },
            {
                "img_path": "bottle/test/good/001.png",
                "mask_path": "",
                "cls_name": "bottle",
                "specie_name": "good",
                "anomaly": 0,
            },
        ]
    },
}


@pytest.fixture
def bottle(tmp_path: Path, make: Make) -> Path:
    make("bottle/train/good/000.png", "bottle/test/good/001.png", "bottle/test/broken_large/000.png")
    make("bottle/ground_truth/broken_large/000_mask.png", mask=True)
    return tmp_path


def test_written_and_read_back(bottle: Path) -> None:
    prepared = prepare("mvtec", bottle)
    prepared.write(bottle / "datalist.json", bottle / "meta.json")
    assert json.loads((bottle / "meta.json").read_text()) == EXPECTED
    again = prepare("mvtec", bottle / "meta.json")
    assert again.samples == prepared.samples
    assert again.meta() == EXPECTED
    assert again.datalist()["test"] == json.loads((bottle / "datalist.json").read_text())["test"]


def test_absolute_paths_of_another_machine(bottle: Path) -> None:
    """The reference writes such paths for most medical sets; DAGM's sections have capitals."""
    content = json.loads(json.dumps(EXPECTED).replace('"bottle/', '"/remote-home/data/mvtec/bottle/'))
    (bottle / "meta.json").write_text(json.dumps({"Train": content["train"], "Test": content["test"]}))
    prepared = prepare("mvtec", bottle / "meta.json")
    assert prepared.samples == prepare("mvtec", bottle).samples
    assert "absolute-path" in {p.kind for p in prepared.problems}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"not a meta\.json"),
        ("[]", r"not a meta\.json"),
        ('{"test": {"a": [{}]}}', r"not a meta\.json .*KeyError"),
        ('{"test": {}}', "lists no images"),
        (json.dumps(EXPECTED).replace("000.png", "007.png"), r"names bottle/train/good/007\.png, which is not below"),
        (json.dumps(EXPECTED).replace("bottle/train", "../../bottle/train"), "Expected nothing"),
    ],
)
def test_refused(bottle: Path, content: str, message: str) -> None:
    (bottle / "meta.json").write_text(content)
    if message == "Expected nothing":  # paths do not lead out of the folder
        assert prepare("mvtec", bottle / "meta.json").samples == prepare("mvtec", bottle).samples
        return
    with pytest.raises(ConfigurationError, match=message):
        prepare("mvtec", bottle / "meta.json")


def test_several_masks_have_no_place(tmp_path: Path, make: Make) -> None:
    make("benign/b.png", "normal/n.png")
    make("benign/b_mask.png", "benign/b_mask_1.png", "normal/n_mask.png", mask=True)
    with pytest.raises(ConfigurationError, match=r"b\.png: has 2 masks"):
        prepare("busi", tmp_path).write(tmp_path / "list.json", tmp_path / "meta.json")
    assert not (tmp_path / "list.json").exists()
