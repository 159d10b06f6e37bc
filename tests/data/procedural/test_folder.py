"""Pictures as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyclip_med.cli import main
from anomalyclip_med.data.datalist import read_datalist
from anomalyclip_med.data.procedural import ProceduralDataset, Settings, read_settings, write_folder
from anomalyclip_med.errors import ConfigurationError


def test_the_folder_holds_the_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"defects": {"blob": 1.0}, "anomalous_share": 0.5}))
    folder = tmp_path / "set"
    options = f"--count 6 --seed 3 --size 48 --settings {tmp_path / 'settings.json'} --section test"
    assert main(["procedural", "write", str(folder), *options.split()]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "datalist.json")
    entries = read_datalist(folder / "datalist.json", folder)
    settings = Settings(defects={"blob": 1.0}, anomalous_share=0.5)
    expected = list(ProceduralDataset(6, seed=3, size=48, settings=settings))
    assert {e["label"] for e in entries} == {0, 1}
    for entry, item in zip(entries, expected, strict=True):
        image = np.asarray(Image.open(entry["image"]), np.float32) / 255
        assert np.abs(image.transpose(2, 0, 1) - item["image"].numpy()).max() <= 0.5 / 255 + 1e-6
        assert entry["label"] == item["label"]
        assert (entry["mask"] is not None) == bool(entry["label"])
        if entry["mask"]:
            assert np.array_equal(np.asarray(Image.open(entry["mask"])), item["mask"][0].numpy() * 255)
    recipes = [json.loads(line) for line in (folder / "recipes.jsonl").read_text().splitlines()]
    assert [bool(r["defects"]) for r in recipes] == [bool(e["label"]) for e in entries]
    assert main(["procedural", "write", str(folder), *options.split()]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_contact_sheet(tmp_path: Path) -> None:
    options = "--rows 2 --columns 3 --size 40"
    assert main(["procedural", "sheet", str(tmp_path / "sheet.png"), *options.split()]) == 0
    assert Image.open(tmp_path / "sheet.png").size == (3 * 42, 2 * 42)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[]", "not a JSON object; settings are textures"),
        ('{"defect": {}}', "unknown defect; settings are"),
        ('{"defects": {"dent": 1}}', "defects: unknown dent"),
        ('{"defects": 3}', "settings.json"),
        ('{"area": [0.1]}', "settings.json"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_settings(tmp_path / "settings.json")


def test_no_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="count is 0"):
        write_folder(tmp_path / "set", 0)
