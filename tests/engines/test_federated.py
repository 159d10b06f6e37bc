"""MONAI's federated client on the training configuration: prompts leave, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import Tensor

from anomalyclip_med import create_model
from anomalyclip_med.bundle import bundle_dir, run_bundle
from anomalyclip_med.data.procedural import write_folder

from ..conftest import snippets

FILES = ["configs/inference.json", "configs/train.json"]
SMALL: dict[str, Any] = {"clip": "untrained", "image_size": 70, "batch_size": 4, "device": torch.device("cpu")}
SHAPES = {"ctx_pos": (1, 1, 12, 128), "ctx_neg": (1, 1, 12, 128)} | {
    f"compound_prompts_text.{i}": (4, 128) for i in range(8)
}
pytestmark = pytest.mark.filterwarnings("ignore:executing the bundle config")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight images each, of three sites."""
    folders = [tmp_path_factory.mktemp("data") / f"site{n}" for n in range(3)]
    for seed, folder in zip((0, 1, 5), folders, strict=True):  # of both labels each
        write_folder(folder, 8, seed=seed, size=64)
    return folders


def client(folder: Path, output: Path, send_weight_diff: bool) -> MonaiAlgo:
    """A site that trains for one epoch per round."""
    options = {**SMALL, "dataset_dir": str(folder), "output_dir": str(output), "save_interval": 0}
    algorithm = MonaiAlgo(
        str(bundle_dir("anomalyclip_zero_shot")),
        send_weight_diff=send_weight_diff,
        config_train_filename=FILES,
        train_kwargs=options,
        config_evaluate_filename=None,
    )
    algorithm.initialize({"fl_client_name": folder.name})
    return algorithm


def start() -> dict[str, Tensor]:
    """What the server begins with."""
    return {n: t.detach() for n, t in create_model("untrained", image_size=70).prompt_learner.learned().items()}


def received(sent: ExchangeObject, weight_type: WeightType) -> dict[str, Tensor]:
    """The tensors that a site has sent, checked and copied."""
    assert sent.weight_type == weight_type
    assert {name: tuple(tensor.shape) for name, tensor in sent.weights.items()} == SHAPES
    assert sum(tensor.numel() * tensor.element_size() for tensor in sent.weights.values()) == 28672
    assert sent.optim is None
    assert sent.metrics is None
    assert all(isinstance(value, int) for value in sent.statistics.values())
    assert sent.statistics["num_executed_iterations"] == 2
    return {name: tensor.clone() for name, tensor in sent.weights.items()}


def central_run(folder: Path, output: Path) -> dict[str, Tensor]:
    """The prompts of two epochs without a federation."""
    options = {**SMALL, "device": "cpu", "dataset_dir": str(folder), "output_dir": str(output), "epochs": 2}
    run_bundle("anomalyclip_zero_shot", ["inference.json", "train.json"], **options)
    return load_file(output / "prompts.safetensors")


def close(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-6)


def mean(tensors: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([t[name] for t in tensors]).mean(dim=0) for name in tensors[0]}


def test_sites_start_from_the_mean_and_a_third_one_evaluates_it(folders: list[Path], tmp_path: Path) -> None:
    sites = [client(folder, tmp_path / folder.name, send_weight_diff=False) for folder in folders[:2]]
    begun: list[dict[str, Tensor]] = []

    def note(trainer: SupervisedTrainer) -> None:
        begun.append({name: tensor.clone() for name, tensor in trainer.network.state_dict().items()})

    for site in sites:
        site.trainer.add_event_handler(Events.STARTED, note)
    shared = start()
    for _ in range(2):
        begun.clear()
        sent = []
        for site in sites:
            site.train(ExchangeObject(weights=shared))
            sent.append(received(site.get_weights(), WeightType.WEIGHTS))
        assert len(begun) == 2
        assert all(torch.equal(weights[name], shared[name]) for weights in begun for name in SHAPES)
        assert not torch.equal(sent[0]["ctx_pos"], sent[1]["ctx_pos"])
        shared = mean(sent)
    for folder in folders[:2]:
        assert len(json.loads((tmp_path / folder.name / "training.json").read_text())["epochs"]) == 2
        assert not (tmp_path / folder.name / "checkpoint.pt").exists()

    third = MonaiAlgo(
        str(bundle_dir("anomalyclip_zero_shot")),
        config_train_filename=None,
        config_evaluate_filename=FILES,
        eval_kwargs={
            **SMALL,
            "dataset_dir": str(folders[2]),
            "output_dir": str(tmp_path / "third"),
            "validation_section": "training",
        },
    )
    third.initialize()
    metrics = third.evaluate(ExchangeObject(weights=shared)).metrics
    detector = create_model("untrained", image_size=70)
    with torch.no_grad():
        for name, tensor in detector.prompt_learner.learned().items():
            tensor.copy_(shared[name])
    items = list(third.eval_workflow.val_dataset)
    mean_colour, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (detector.image_mean, detector.image_std))
    scores = detector((torch.stack([item["image"] for item in items]) - mean_colour) / deviation).score
    assert metrics == {"image_auroc": pytest.approx(roc_auc_score([item["label"] for item in items], scores))}


def test_the_documented_rounds_and_the_server_s_configuration(folders: list[Path], tmp_path: Path) -> None:
    """Equal sites without a checkpoint are one central run; the server builds the network without any images."""
    code, merge = snippets("bundles/anomalyclip_zero_shot/docs/README.md", "bundle")
    bundle, model = str(bundle_dir("anomalyclip_zero_shot")), {**SMALL, "device": "cpu"}
    names = {"folders": {name: str(folders[0]) for name in "ab"}, "output": str(tmp_path), "rounds": 2}
    names |= {"bundle": bundle, "model": model}
    exec(code, names)
    close(names["weights"], central_run(folders[0], tmp_path / "central"))
    exec(merge, names)
    server = ConfigParser(ConfigParser.load_config_file(str(tmp_path / "server.json")))
    begun = server.get_parsed_content("network_def").state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in start().items())


def test_equal_sites_are_one_central_run(folders: list[Path], tmp_path: Path) -> None:
    sites = [client(folders[0], tmp_path / name, send_weight_diff=True) for name in "ab"]
    shared = start()
    for _ in range(2):
        differences = []
        for site in sites:
            site.train(ExchangeObject(weights=shared))
            differences.append(received(site.get_weights(), WeightType.WEIGHT_DIFF))
        step = mean(differences)
        shared = {name: shared[name] + step[name] for name in shared}
    close(shared, central_run(folders[0], tmp_path / "central"))
