"""Data lists: what is read, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalyclip_med.data.datalist import read_datalist
from anomalyclip_med.errors import ConfigurationError


def write(folder: Path, content: object) -> Path:
    for name in ("a.png", "m.png"):
        (folder / name).write_bytes(b"")
    (folder / "list.json").write_text(json.dumps(content))
    return folder / "list.json"


ABSENT = {"class": "all", "defect": "", "group": "", "mask_rule": ""}


def test_entries(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"test": [{"image": "a.png", "label": 0}, {"image": "a.png", "mask": "m.png", "label": 1, "class": "skin"}]},
    )
    image, mask = tmp_path / "a.png", tmp_path / "m.png"
    assert read_datalist(path, tmp_path) == [
        {**ABSENT, "image": image, "mask": None, "label": 0},
        {**ABSENT, "image": image, "mask": mask, "label": 1, "class": "skin"},
    ]


def test_masks_defects_groups_and_rules(tmp_path: Path) -> None:
    entries = [
        {"image": "a.png", "label": 1, "mask": ["m.png", "a.png"], "defect": "cut", "group": "7", "class": "skin"},
        {"image": "a.png", "label": 0, "mask": ["m.png"], "mask_rule": "half", "defect": None, "class": None},
        {"image": "a.png", "label": 0, "class": 0, "group": 0},
    ]
    path = write(tmp_path, {"mask_rule": "stored>0", "training": entries})
    image, mask = tmp_path / "a.png", tmp_path / "m.png"
    many = {"mask": [mask, image], "defect": "cut", "group": "7", "class": "skin", "mask_rule": "stored>0"}
    assert read_datalist(path, tmp_path, "training") == [
        {**ABSENT, **many, "image": image, "label": 1},
        {**ABSENT, "image": image, "mask": mask, "label": 0, "mask_rule": "half"},
        {**ABSENT, "image": image, "mask": None, "label": 0, "class": "0", "group": "0", "mask_rule": "stored>0"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], 'no entries under "test"'),
        ({"train": [{"image": "a.png", "label": 0}]}, 'no entries under "test"'),
        ({"test": [{"image": "a.png"}]}, 'entry 0 needs an "image" and a "label" of 0 or 1'),
        ({"test": [{"image": "a.png", "label": 2}]}, "entry 0 needs"),
        ({"test": [{"image": "b.png", "label": 1}]}, "b.png, which does not exist"),
        ({"test": [{"image": "a.png", "mask": "n.png", "label": 1}]}, "n.png, which does not exist"),
        ({"test": [{"image": "a.png", "mask": ["m.png", "n.png"], "label": 1}]}, "n.png, which does not exist"),
        ({"test": [{"image": "a.png", "mask": {"m.png": 1}, "label": 1}]}, "names its files by something else"),
        ({"test": [{"image": 3, "label": 1}]}, "names its files by something else"),
        ({"mask_rule": "x>1", "test": [{"image": "a.png", "label": 1}]}, 'the mask rule "x>1", known are half, shown'),
    ],
)
def test_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_datalist(write(tmp_path, content), tmp_path)


def test_not_json(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("image,label")
    with pytest.raises(ConfigurationError, match=r"list\.json: not a readable data list"):
        read_datalist(tmp_path / "list.json", tmp_path)
