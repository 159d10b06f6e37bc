"""The three commands of the TN3K bundle, from the published folders to the table."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import run
from PIL import Image

from anomalyclip_med.bundle import bundle_dir
from anomalyclip_med.errors import WeightsError
from anomalyclip_med.studies import compare
from anomalyclip_med.weights import file_sha256

CONFIGS = bundle_dir("anomalyclip_tn3k_finetuned") / "configs"
TRAINED = 8
VALIDATION = [2, 5]


def command(*files: str, **options: Any) -> None:
    """What ``python -m monai.bundle run`` calls."""
    run(config_file=[str(CONFIGS / file) for file in files], **options)


def fine_tune(root: Path, **options: Any) -> dict[str, Any]:
    command("inference.json", "train.json", "finetune.json", dataset_dir=str(root), device="cpu", **options)
    return json.loads(Path("finetuned/training.json").read_text())


def nodule(path: Path, number: int) -> None:
    """A bright oval on speckle, and its mask, both as JPEG."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:56, :72]
    oval = ((y - rng.uniform(18, 38)) / rng.uniform(6, 12)) ** 2 + ((x - rng.uniform(20, 52)) / 14) ** 2 < 1
    picture = rng.gamma(4, 15, (56, 72)) + 90 * oval
    for folder, pixels in ((path, picture.clip(0, 255)), (Path(f"{path}".replace("image", "mask")), 255 * oval)):
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).convert("RGB").save(folder / f"{number % 100:04d}.jpg")


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TN3K's folders as published, with the first fold; the working folder is another one."""
    place = tmp_path / "Thyroid Dataset" / "tn3k"
    for number in range(TRAINED):
        nodule(place / "trainval-image", number)
    for number in range(100, 103):
        nodule(place / "test-image", number)
    fold = {"train": [n for n in range(TRAINED) if n not in VALIDATION], "val": VALIDATION}
    (place / "tn3k-trainval-fold0.json").write_text(json.dumps(fold))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "Thyroid Dataset"


def test_three_commands_make_the_table(published: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    command("prepare.json", dataset_dir=str(published))
    assert "training: 0 normal, 6 anomalous\nvalidation: 0 normal, 2 anomalous" in capsys.readouterr().out
    datalist = json.loads((published / "datalist.json").read_text())
    images = {s: [entry["image"] for entry in datalist[s]] for s in ("training", "validation", "test")}
    assert images["validation"] == [f"tn3k/trainval-image/{n:04d}.jpg" for n in VALIDATION]
    assert images["test"] == [f"tn3k/test-image/{n:04d}.jpg" for n in range(3)]
    assert len({image for section in images.values() for image in section}) == TRAINED + 3
    assert all(e["mask"] == e["image"].replace("image", "mask") for s in images for e in datalist[s])

    record = fine_tune(published, clip="untrained", image_size=70, epochs=3)
    losses = [epoch["loss"] for epoch in record["epochs"]]
    assert losses[2] < losses[1] < losses[0]
    assert record["settings"]["loss"] == "local"
    assert record["settings"]["images"]["images"] == TRAINED - len(VALIDATION)
    metric = [epoch["pixel_aupro"] for epoch in record["epochs"]]
    assert metric[record["best_epoch"] - 1] == max(metric)

    options = {"dataset_dir": str(published), "clip": "untrained", "image_size": 70, "device": "cpu"}
    command("compare.json", **options)
    page = Path("comparison/comparison.md").read_text()
    assert page in capsys.readouterr().out
    assert "UNTRAINED" in page
    with Path("comparison/comparison.csv").open() as file:
        rows = {row["trained_on"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["none", "mvtec", "visa", "tn3k"]
    figures = {"mvtec": (63.5, 46.8), "visa": (63.4, 39.8), "tn3k": (83.2, 54.9)}
    for name, (auroc, aupro) in figures.items():
        assert float(rows[name]["pixel_auroc_published"]) == auroc
        assert float(rows[name]["pixel_aupro_reference_published"]) == aupro
    for name in ("none", "tn3k"):
        mean = json.loads(Path("comparison", name, "metrics.json").read_text())["mean"]
        for metric in ("pixel_auroc", "pixel_aupro_reference"):
            assert float(rows[name][metric]) == 100 * mean[metric]
            assert f"| {100 * mean[metric]:.1f} " in page
        assert rows[name]["images"] == "3"
    assert rows["tn3k"]["pixel_auroc_difference"] == ""  # three images are not TN3K
    model = json.loads(Path("comparison/tn3k/metrics.json").read_text())["model"]
    assert model["prompts_sha256"] == file_sha256(Path("finetuned/prompts.safetensors"))

    # A checkpoint that is not here costs its row only, and an earlier run's figures do not fill it.
    shutil.copytree("comparison/tn3k", "comparison/mvtec")
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(published / "empty"))
    options |= {"datalist": str(published / "datalist.json")}
    checkpoints = {"mvtec": "anomalyclip-mvtec", "tn3k": "finetuned/prompts.safetensors"}
    with pytest.raises(WeightsError, match=r"1 of 2 checkpoints.*\n.*weights fetch anomalyclip-mvtec"):
        compare(checkpoints, "comparison", "TN3K fine-tuning article", **options)
    with Path("comparison/comparison.csv").open() as file:
        again = {row["trained_on"]: row for row in csv.DictReader(file)}
    assert list(again) == ["mvtec", "visa", "tn3k"]
    assert again["tn3k"] == rows["tn3k"]
    assert again["mvtec"]["pixel_auroc"] == ""


@pytest.mark.slow
@pytest.mark.data
def test_real_nodules_are_marked_better_after_fine_tuning(
    real_data: Path, offline_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 pairs to learn from, of which 4 choose the epoch, and 20 others to measure on."""
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(offline_cache))
    monkeypatch.chdir(tmp_path)
    for kind in ("image", "mask"):
        for number in range(40):
            section = "trainval" if number < 20 else "test"
            (tmp_path / f"tn3k/{section}-{kind}").mkdir(parents=True, exist_ok=True)
            source = real_data / "TN3K_layout_DERIVED_from_DDTI" / f"test-{kind}" / f"{number:04d}.jpg"
            shutil.copy(source, tmp_path / f"tn3k/{section}-{kind}")
    command("prepare.json", dataset_dir=str(tmp_path / "tn3k"))
    fine_tune(tmp_path / "tn3k", clip="offline", cache="memory")
    command("compare.json", dataset_dir=str(tmp_path / "tn3k"), clip="offline", device="cpu")
    with Path("comparison/comparison.csv").open() as file:
        rows = {row["trained_on"]: row for row in csv.DictReader(file)}
    for metric in ("pixel_auroc", "pixel_aupro_reference"):
        assert float(rows["tn3k"][metric]) > float(rows["procedural"][metric]) + 1
