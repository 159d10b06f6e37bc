"""The command, and the page that it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from anomalyclip_med.cli import main
from anomalyclip_med.data.datalist import read_datalist
from anomalyclip_med.data.datasets import DATA_SETS
from anomalyclip_med.data.datasets.page import page
from tests.conftest import REPOSITORY

from .conftest import Make


def test_list_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[2:]] == list(DATA_SETS)
    assert main(["datasets", "info", "BrainMRI"]) == 0
    shown = capsys.readouterr().out
    assert "98 + 155" in shown
    assert "BrainMRI and Br35H share files" in shown
    assert main(["datasets", "info", "brain"]) == 2
    assert "no data set is called 'brain'" in capsys.readouterr().err


def test_the_page_is_that_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list", "--markdown"]) == 0
    assert capsys.readouterr().out == (REPOSITORY / "docs" / "datasets.md").read_text(encoding="utf-8"), (
        "run: anomalyclip-med datasets list --markdown > docs/datasets.md"
    )


def test_the_page_tells_what_every_warning_means() -> None:
    modules = (REPOSITORY / "anomalyclip_med" / "data" / "datasets").glob("*.py")
    source = "".join(path.read_text(encoding="utf-8") for path in modules)
    kinds = set(re.findall(r'warning\(\s*"([a-z-]+)"', source) + re.findall(r'"([a-z-]+)": \(\s*warning,', source))
    assert {"split-missing", "mask-empty", "duplicate-labels"} <= kinds
    text = page()
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in text] == []


def test_every_expected_count_has_a_source() -> None:
    for entry in DATA_SETS.values():
        assert all(expected.source for expected in entry.expected)
        assert entry.name == "folder" or (entry.licence and entry.url and entry.reference and entry.expected)


def test_prepare(tmp_path: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make("set/images/a.jpg", "set/images/b.jpg")
    make("set/masks/a.jpg", mask=True)
    root = tmp_path / "set"
    assert main(["datasets", "prepare", "kvasir", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("warning: mask-missing: anomalous images without a mask")
    assert lines[0].endswith("(1 files: b.jpg)")
    assert lines[-2:] == ["test: 0 normal, 2 anomalous", str(root / "datalist.json")]
    content = json.loads((root / "datalist.json").read_text())
    assert content["name"] == "kvasir"
    assert content["counts"] == {"test": {"normal": 0, "anomalous": 2}}
    assert content["mask_rule"] == "shown>127"
    assert content["licence"]
    assert content["reference"]
    assert {p["kind"]: p["files"] for p in content["problems"]}["mask-missing"] == ["images/b.jpg"]
    read = read_datalist(root / "datalist.json", root)
    assert [(e["image"], e["mask"], e["label"], e["class"], e["mask_rule"]) for e in read] == [
        (root / "images" / "a.jpg", root / "masks" / "a.jpg", 1, "colon", "shown>127"),
        (root / "images" / "b.jpg", None, 1, "colon", "shown>127"),
    ]

    options = ["-o", str(tmp_path / "out" / "l.json"), "--meta-json", str(tmp_path / "out" / "meta.json"), "--strict"]
    assert main(["datasets", "prepare", "kvasir", str(root), *options]) == 1
    assert json.loads((tmp_path / "out" / "l.json").read_text()) == content
    assert list(json.loads((tmp_path / "out" / "meta.json").read_text())) == ["train", "test"]

    (tmp_path / "file").write_text("")
    capsys.readouterr()
    assert main(["datasets", "prepare", "kvasir", str(root), "-o", str(tmp_path / "file" / "l.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_shared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"test": [{"image": f"{name}.png", "sha256": "0"}]}))
    assert main(["datasets", "shared", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    assert capsys.readouterr().out.splitlines() == ["a.png\tb.png", "1 pairs of equal files"]
