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


def test_entries(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"test": [{"image": "a.png", "label": 0}, {"image": "a.png", "mask": "m.png", "label": 1, "class": "skin"}]},
    )
    assert read_datalist(path, tmp_path) == [
        {"image": tmp_path / "a.png", "mask": None, "label": 0, "class": "all"},
        {"image": tmp_path / "a.png", "mask": tmp_path / "m.png", "label": 1, "class": "skin"},
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
    ],
)
def test_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_datalist(write(tmp_path, content), tmp_path)


def test_not_json(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("image,label")
    with pytest.raises(ConfigurationError, match=r"list\.json: not a readable data list"):
        read_datalist(tmp_path / "list.json", tmp_path)
