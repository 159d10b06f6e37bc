"""MLflow and TensorBoard get the losses and metrics of training.json, through MONAI's own handlers."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")

from mlflow import MlflowClient
from monai.bundle import ConfigWorkflow, run
from monai.utils import path_to_sqlite_uri
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from anomalyclip_med.bundle import bundle_dir, run_bundle
from anomalyclip_med.cli import main
from anomalyclip_med.data.procedural import write_folder
from anomalyclip_med.errors import ConfigurationError

FILES = [str(bundle_dir("anomalyclip_zero_shot") / "configs" / name) for name in ("inference.json", "train.json")]
SMALL: dict[str, Any] = {"clip": "untrained", "image_size": 70, "device": "cpu", "batch_size": 4, "epochs": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images in a folder that is named like nothing else."""
    folder = tmp_path_factory.mktemp("data") / "mustermann"
    write_folder(folder, 6, size=64)
    return folder


def options(folder: Path, output: Path) -> dict[str, Any]:
    return {**SMALL, "dataset_dir": str(folder), "output_dir": str(output), "validation_section": "training"}


def test_mlflow_has_the_losses_and_metrics(folder: Path, tmp_path: Path) -> None:
    run(config_file=FILES, tracking="mlflow", **options(folder, tmp_path))
    epochs = json.loads((tmp_path / "training.json").read_text())["epochs"]
    client = MlflowClient(path_to_sqlite_uri(str(tmp_path / "mlruns.db")))
    experiment = client.get_experiment_by_name("monai_experiment")
    (found,) = client.search_runs(experiment.experiment_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"max_epochs": "2", "epoch_length": "2"}
    assert found.data.metrics.keys() == {"train_loss", "mean_loss", "image_auroc", "lr_group_0"}

    def history(name: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]

    assert history("mean_loss") == [(e["epoch"], e["loss"]) for e in epochs]
    assert history("image_auroc") == [(e["epoch"], e["image_auroc"]) for e in epochs]
    steps = history("train_loss")
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    means = [(steps[n][1] + steps[n + 1][1]) / 2 for n in (0, 2)]
    assert means == pytest.approx([e["loss"] for e in epochs], rel=1e-6)
    assert client.list_artifacts(found.info.run_id) == []
    with sqlite3.connect(tmp_path / "mlruns.db") as store:
        assert "mustermann" not in "\n".join(store.iterdump())
    (config,) = tmp_path.glob("config_*.json")
    assert json.loads(config.read_text())["dataset_dir"] == str(folder)


def test_the_command_tracks_and_refuses_what_it_does_not_know(folder: Path, tmp_path: Path, monkeypatch) -> None:
    arguments = ["--clip", "untrained", "--image-size", "70", "--device", "cpu", "--epochs", "1"]
    command = ["train", str(folder / "datalist.json"), "-o", str(tmp_path / "out"), "--tracking", "mlflow"]
    assert main([*command, *arguments]) == 0
    assert (tmp_path / "out" / "mlruns.db").is_file()
    with pytest.raises(ConfigurationError, match="did you mean epochs"):
        run_bundle(
            "anomalyclip_zero_shot",
            ["inference.json", "train.json"],
            tracking="mlflow",
            epoch=3,
            **options(folder, tmp_path / "out"),
        )
    monkeypatch.setattr("anomalyclip_med.commands.train.find_spec", lambda name: None)
    assert main([*command, *arguments]) == 2


def test_tensorboard_goes_on_with_a_resumed_run(folder: Path, tmp_path: Path) -> None:
    whole = {**options(folder, tmp_path), "tensorboard": True}
    for epochs in (1, 2):
        run(config_file=FILES, **{**whole, "epochs": epochs})
    epochs = json.loads((tmp_path / "training.json").read_text())["epochs"]
    written = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(written.Tags()["scalars"]) == {"train_loss", "mean_loss", "image_auroc"}

    def scalars(tag: str) -> list[tuple[int, float]]:
        return [(event.step, event.value) for event in written.Scalars(tag)]

    for tag, key in (("mean_loss", "loss"), ("image_auroc", "image_auroc")):
        assert [step for step, _ in scalars(tag)] == [1, 2]
        assert [value for _, value in scalars(tag)] == pytest.approx([e[key] for e in epochs], rel=1e-6)
    steps = scalars("train_loss")
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    means = [(steps[n][1] + steps[n + 1][1]) / 2 for n in (0, 2)]
    assert means == pytest.approx([e["loss"] for e in epochs], rel=1e-6)


def test_monai_finds_all_training_properties_it_asks_for(folder: Path, tmp_path: Path) -> None:
    workflow = ConfigWorkflow(FILES, workflow_type="train", logging_file=False, **options(folder, tmp_path))
    workflow.initialize()
    assert workflow.check_properties() == []
    assert len(workflow.train_dataset) == len(workflow.val_dataset) == 6
    assert workflow.trainer.state.max_epochs == workflow.max_epochs == 2
    assert workflow.evaluator.state.key_metric_name == "image_auroc"
    assert workflow.network_def is workflow.trainer.network
