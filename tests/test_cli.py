"""The command line: what it does, what it says, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomalyclip_med import weights
from anomalyclip_med.cli import main


def picture(path: Path, seed: int = 0) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50), dtype=np.uint8)).save(path)
    return path


def test_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more").mkdir()
    paths = [picture(tmp_path / "a.png", 1), picture(tmp_path / "more" / "b.png", 2).parent]
    model = "--clip untrained --image-size 84 --feature-layers 12,24 --device cpu"
    options = f"{model} --window 100,200 --batch-size 1 --top-slices 0"
    assert main(["score", "--show-names", *map(str, paths), "-o", str(tmp_path / "out"), *options.split()]) == 0
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert report["model"]["image_size"] == 84
    assert report["model"]["feature_layers"] == [12, 24]
    assert report["settings"]["window"] == [100, 200]
    assert {s["study"] for s in report["studies"]} == {"a", "b"}
    printed = capsys.readouterr().out
    assert "UNTRAINED" in printed
    assert str(tmp_path / "out") in printed


def test_prompts_are_used(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    prompts = {k: torch.randn(1, 1, 12, 128, generator=generator) for k in ("ctx_pos", "ctx_neg")}
    torch.save({"prompt_learner": prompts}, tmp_path / "prompts.pth")
    picture(tmp_path / "a.png")
    command = [
        "score",
        "--show-names",
        str(tmp_path / "a.png"),
        "-o",
        str(tmp_path / "out"),
        "--image-size",
        "70",
        "--clip",
        "untrained",
    ]
    assert main([*command, "--prompts", str(tmp_path / "prompts.pth")]) == 0
    model = json.loads((tmp_path / "out" / "scores.json").read_text())["model"]
    assert model["prompts"] == "prompts.pth"
    assert model["prompt_config"]["deep_depth"] == 1


def test_exit_status_1_when_something_could_not_be_scored(tmp_path: Path, capsys) -> None:
    picture(tmp_path / "a.png")
    bad = picture(tmp_path / "b.png")
    bad.write_bytes(bad.read_bytes()[:700])
    options = "--image-size 70 --clip untrained --show-names"
    assert main(["score", str(tmp_path), "-o", str(tmp_path / "out"), *options.split()]) == 1
    assert "b.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent: no such file or folder"),
        (["a.png"], "anomalyclip-med weights fetch offline"),
        (["a.png", "--clip", "untrained", "--window", "brian"], "window='brian' is unknown"),
        (["a.png", "--clip", "ViT-L-14-336/openay", "--prompts", "auto"], "openai"),
        (["a.png", "--clip", "untrained", "--prompts", "anomalyclip-mvtek"], "anomalyclip-mvtec"),
        (["a.png", "--clip", "untrained", "--prompts", "anomalyclip-mvtec"], "weights fetch anomalyclip-mvtec"),
    ],
)
def test_exit_status_2_with_one_clear_sentence(tmp_path: Path, monkeypatch, capsys, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path / "cache"))
    picture(tmp_path / "a.png")
    assert main(["score", "--show-names", *arguments, "-o", "out", "--image-size", "70"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("anomalyclip-med: ")
    assert message in error
    assert not Path("out/scores.csv").exists()


@pytest.mark.parametrize(
    "command", [["--help"], ["score", "--help"], ["weights", "--help"], ["weights", "fetch", "--help"]]
)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 0
    if command[0] == "score":
        shown = capsys.readouterr().out
        for word in ("scores.json", "--window", "brain", "--plane", "examples:", "exit status"):
            assert word in shown


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_a_device_that_is_not_there_ends_with_one_sentence(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["score", "a.png", "-o", "out", "--device", device])
    assert end.value.code == 2
    assert f"argument --device: '{device}' cannot be used" in capsys.readouterr().err.splitlines()[-1]


def test_prepare_and_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("normal", "tumour"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            picture = rng.integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "images" / name / f"{number}.png")
    assert main(["datasets", "prepare", "folder", str(tmp_path / "images")]) == 0
    assert "test: 3 normal, 3 anomalous" in capsys.readouterr().out
    command = ["evaluate", str(tmp_path / "images" / "datalist.json"), "-o", str(tmp_path / "out")]
    assert main([*command, "--clip", "untrained", "--image-size", "70", "--device", "cpu"]) == 0
    assert "| objects" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 0 <= report["mean"]["image_auroc"] <= 1
    assert report["mean"]["pixel_auroc"] is None  # the anomalous images have no masks
    assert main([*command, "--section", "training", "--clip", "untrained", "--image-size", "70"]) == 2
    assert 'no entries under "training"' in capsys.readouterr().err


def test_train_then_score_with_what_was_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["procedural", "write", str(tmp_path / "drawn"), "--count", "8", "--size", "64"]) == 0
    model = ["--clip", "untrained", "--device", "cpu"]
    command = ["train", str(tmp_path / "drawn" / "datalist.json"), "-o", str(tmp_path / "out"), *model]
    options = ["--image-size", "70", "--epochs", "2", "--batch-size", "4", "--cache", "memory", "--loss", "local"]
    options += ["--validation-section", "training", "--metric", "pixel_auroc"]
    assert main([*command, *options]) == 0
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert len(record["epochs"]) == 2
    assert record["epochs"][1]["loss"] < record["epochs"][0]["loss"]
    assert record["settings"]["loss"] == "local"
    prompts = str(tmp_path / "out" / "prompts.safetensors")
    assert prompts in capsys.readouterr().out
    scored = ["score", str(tmp_path / "drawn" / "images"), "-o", str(tmp_path / "scored"), *model]
    assert main([*scored, "--prompts", prompts, "--top-slices", "0"]) == 0
    assert json.loads((tmp_path / "scored" / "scores.json").read_text())["model"]["image_size"] == 70
    assert main(["train", "-o", str(tmp_path / "none")]) == 2
    assert "either a data list or --procedural" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["list.json", "--metric", "pixel_ap", "--patience", "2"], "--metric, --patience: without effect"),
        (["list.json", "--cache-dtype", "float16"], "--cache-dtype: without effect, give --cache as well"),
        (["--procedural", "8", "--section", "test"], "--section: without effect, give a data list as well"),
    ],
)
def test_options_of_train_without_effect_are_errors(tmp_path: Path, capsys, options: list[str], message: str) -> None:
    assert main(["train", *options, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("method", "loss"), [("coop", "global"), ("vand", "local")])
def test_train_a_baseline_then_evaluate_it_by_class(tmp_path: Path, capsys, method: str, loss: str) -> None:
    assert main(["procedural", "write", str(tmp_path / "drawn"), "--count", "10", "--size", "64"]) == 0
    datalist = tmp_path / "drawn" / "datalist.json"
    entries = json.loads(datalist.read_text())["training"]
    for number, entry in enumerate(entries):
        entry["class"] = ("bottle", "metal_nut")[number % 2]
    datalist.write_text(json.dumps({"training": entries, "test": entries}))
    model = ["--clip", "untrained", "--device", "cpu", "--method", method]
    options = ["--image-size", "70", "--epochs", "2", "--batch-size", "6", "--cache", str(tmp_path / "cache")]
    assert main(["train", str(datalist), "-o", str(tmp_path / "trained"), *model, *options]) == 0
    record = json.loads((tmp_path / "trained" / "training.json").read_text())
    assert record["settings"]["model"]["method"].lower() == method
    assert record["settings"]["loss"] == loss
    losses = [epoch["loss"] for epoch in record["epochs"]]
    assert losses == sorted(losses, reverse=True)
    prompts = str(tmp_path / "trained" / "prompts.safetensors")

    assert main(["evaluate", str(datalist), "-o", str(tmp_path / "found"), *model, "--prompts", prompts]) == 0
    found = json.loads((tmp_path / "found" / "metrics.json").read_text())
    assert found["model"]["method"].lower() == method
    assert found["model"]["prompts_trained"]
    assert set(found["classes"]) == {"bottle", "metal_nut"}
    # One class alone, as the detector's own, is measured as it is among others.
    only = [{k: v for k, v in e.items() if k != "class"} for e in entries if e["class"] == "metal_nut"]
    datalist.write_text(json.dumps({"test": only}))
    command = ["evaluate", str(datalist), "-o", str(tmp_path / "alone"), *model, "--prompts", prompts]
    assert main([*command, "--class-name", "metal nut"]) == 0
    (alone,) = json.loads((tmp_path / "alone" / "metrics.json").read_text())["classes"].values()
    for metric in ("image_auroc", "pixel_auroc"):
        assert found["classes"]["metal_nut"][metric] == pytest.approx(alone[metric], abs=1e-6)
    assert main(["score", str(tmp_path / "drawn" / "images"), "-o", str(tmp_path / "x"), "--prompts", prompts]) == 2
    assert "not AnomalyCLIP" in capsys.readouterr().err


def test_a_baseline_without_training_scores_and_cannot_be_trained(tmp_path: Path, capsys) -> None:
    picture(tmp_path / "a.png")
    model = ["--clip", "untrained", "--image-size", "70", "--device", "cpu", "--method", "winclip"]
    assert main(["score", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), *model, "--class-name", "brain"]) == 0
    record = json.loads((tmp_path / "out" / "scores.json").read_text())["model"]
    assert (record["method"], record["class_name"]) == ("WinCLIP", "brain")
    assert main(["train", "--procedural", "4", "-o", str(tmp_path / "trained"), *model]) == 2
    assert "WinCLIP learns nothing" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), *model[:-1], "winclap"]) == 2
    assert "did you mean winclip?" in capsys.readouterr().err


def test_weights_of_the_offline_backbone(tmp_path: Path, offline_cache: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path))
    assert main(["weights", "verify", "offline"]) == 2
    assert "weights fetch offline" in capsys.readouterr().err
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(offline_cache))
    assert main(["weights", "verify", "offline"]) == 0
    assert "training data are undisclosed" in capsys.readouterr().out


def test_weights_commands(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path))
    assert main(["weights", "list"]) == 0
    listed = capsys.readouterr().out
    assert "anomalyclip-mvtec" in listed
    assert "anomalyclip-visa" in listed
    assert listed.count("missing") == 2
    assert main(["weights", "verify", "anomalyclip-mvtec"]) == 1
    (tmp_path / "other.pth").write_bytes(b"something else")
    assert main(["weights", "verify", str(tmp_path / "other.pth")]) == 1
    fetched = []
    monkeypatch.setattr(weights, "fetch", lambda name, folder: fetched.append((name, folder)) or tmp_path / "x.pth")
    assert main(["weights", "fetch", "anomalyclip-visa", "--to", str(tmp_path)]) == 0
    assert fetched == [("anomalyclip-visa", tmp_path)]


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    """As with ``| head``: whoever reads is gone before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "anomalyclip_med.cli", "weights", "list"]
    run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (run.returncode, run.stderr) == (141, "")
