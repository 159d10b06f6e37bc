"""`export`, and detectors in one file where the others are taken: `score`, `evaluate`, the bundles."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

from anomalyclip_med import create_model
from anomalyclip_med.bundle import bundle_dir, run_bundle
from anomalyclip_med.cli import main
from anomalyclip_med.errors import ConfigurationError

MODEL = ["--clip", "untrained", "--image-size", "70", "--feature-layers", "12,24"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    entries = []
    for number in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)).save(folder / f"{number}.png")
        mask = np.zeros((40, 50), np.uint8)
        mask[10:20, 10:30] = 255 * (number % 2)
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
        entry = {"image": f"{number}.png", "mask": f"{number}_mask.png", "label": number % 2, "class": "skin"}
        entries.append(entry)
    (folder / "datalist.json").write_text(json.dumps({"test": entries}))
    return folder


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "new" / "detector.safetensors"
    assert main(["export", str(path), *MODEL]) == 0
    return path


def results(folder: Path) -> tuple[list[dict[str, str]], dict, dict[str, np.ndarray]]:
    """Of a run: the table without its scores, the report, and all numbers."""
    rows = list(csv.DictReader((folder / "scores.csv").open()))
    numbers = {f"score {i}": np.float64(row.pop("score")) for i, row in enumerate(rows)}
    numbers |= {path.name: np.asarray(nib.load(path).dataobj) for path in folder.glob("*/*.nii.gz")}
    return rows, json.loads((folder / "scores.json").read_text()), numbers


def assert_same_results(one: Path, other: Path, tolerance: float) -> None:
    (rows, report, numbers), (other_rows, other_report, other_numbers) = results(one), results(other)
    assert other_rows == rows
    file = {name: other_report["model"].pop(name) for name in ("file", "file_sha256")}
    assert len(file["file_sha256"]) == 64
    same = report.keys() - {"studies"}
    assert {name: other_report[name] for name in same} == {name: report[name] for name in same}
    assert list(other_report["model"]) == list(report["model"])  # in the same order
    assert other_numbers.keys() == numbers.keys()
    for name, values in numbers.items():
        np.testing.assert_allclose(other_numbers[name], values, rtol=0, atol=tolerance)


def test_a_compact_file_gives_the_same_results(pictures: Path, compact: Path, tmp_path: Path) -> None:
    run = ["score", str(pictures / "0.png"), str(pictures / "1.png"), "--device", "cpu", "-o"]
    assert main([*run, str(tmp_path / "full"), *MODEL]) == 0
    assert main([*run, str(tmp_path / "compact"), "--model", str(compact)]) == 0
    assert_same_results(tmp_path / "full", tmp_path / "compact", 0)


def test_onnx_gives_the_same_results(pictures: Path, onnx_file: Path, compact_file: Path, tmp_path: Path) -> None:
    run = ["score", str(pictures / "0.png"), str(pictures / "1.png"), "--device", "cpu", "-o"]
    for path in (compact_file, onnx_file):
        assert main([*run, str(tmp_path / path.suffix), "--model", str(path)]) == 0
    full = json.loads((tmp_path / ".safetensors" / "scores.json").read_text())
    del full["model"]["file"], full["model"]["file_sha256"]
    (tmp_path / ".safetensors" / "scores.json").write_text(json.dumps(full))
    assert_same_results(tmp_path / ".safetensors", tmp_path / ".onnx", 1e-5)


def test_evaluation(pictures: Path, onnx_file: Path, compact_file: Path, detector, tmp_path: Path) -> None:
    found = {}
    for path in (compact_file, onnx_file):
        out = tmp_path / path.suffix
        assert main(["evaluate", str(pictures / "datalist.json"), "-o", str(out), "--model", str(path)]) == 0
        found[path] = json.loads((out / "metrics.json").read_text())
        assert found[path]["model"]["file"] == path.name
        assert found[path]["model"]["clip_sha256"] == detector.backbone_sha256
    one, other = found[compact_file]["mean"], found[onnx_file]["mean"]
    assert one["pixel_auroc"] == pytest.approx(other["pixel_auroc"], abs=1e-4)
    assert one["image_auroc"] == other["image_auroc"]


def test_options_that_the_file_fixes_are_errors(pictures: Path, compact: Path, tmp_path: Path, capsys) -> None:
    score = ["score", str(pictures / "0.png"), "-o", str(tmp_path / "out"), "--model", str(compact)]
    assert main([*score, "--clip", "ViT-L-14-336/openai", "--image-size", "518"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"anomalyclip-med: clip, image_size: fixed by {compact}")
    for name, value in {
        **{"method": "clip", "class_name": "skin", "activation": "gelu", "prompts": "a.pth", "feature_layers": [1]},
        **{"dpam": "off", "dpam_layers": 2, "sigma": 1.0, "score": "map", "top_fraction": 0.5, "neighbourhood": [3]},
        **{"flip": True, "scales": [2.0], "prompt_config": {"class_name": "skin"}, "seed": 1},
    }.items():
        with pytest.raises(ConfigurationError, match=rf"^{name}: fixed by"):
            create_model(model=compact, **{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.pth"], "a.pth: the suffix tells the kind of export: use .safetensors, .onnx, .pt2, .ts"),
        (["a.safetensors", "--method", "winclip"], "WinCLIP names each image's class"),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, monkeypatch, capsys, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments, "--clip", "untrained", "--prompts", "auto", "--image-size", "70"]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_whole_detector_is_not_trained(compact: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--procedural", "4", "-o", str(tmp_path), "--model", str(compact)])
    assert "unrecognized arguments: --model" in capsys.readouterr().err
    options = {"model": str(compact), "procedural": 4, "output_dir": str(tmp_path)}
    with pytest.raises(ConfigurationError, match=r"detector\.safetensors learns nothing"):
        run_bundle("anomalyclip_zero_shot", ["inference.json", "train.json"], **options)


@pytest.mark.parametrize("bundle", ["anomalyclip_zero_shot", "anomalyclip_tn3k_finetuned"])
def test_both_bundles_take_a_model(pictures: Path, compact: Path, bundle: str, tmp_path: Path) -> None:
    workflow = ConfigWorkflow(
        str(bundle_dir(bundle) / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        dataset_dir=str(pictures),
        output_dir=str(tmp_path),
        model=str(compact),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    assert workflow.parser.get_parsed_content("detector").file_name == compact.name
