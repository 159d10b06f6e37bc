"""The one-tensor form: what it holds, and that exported files compute the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyclip_med import create_model
from anomalyclip_med.networks import SingleTensorDetector


@pytest.fixture
def network(small_clip: Path, small_prompts_file: Path) -> SingleTensorDetector:
    return SingleTensorDetector(create_model(small_clip, small_prompts_file, 56, (2, 6), dpam_layers=4))


def rgb(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 56, 56, generator=torch.Generator().manual_seed(1))


def test_holds_the_map_and_the_score_of_the_normalised_image(network: SingleTensorDetector) -> None:
    detector = network.detector
    mean, std = (torch.tensor(v)[:, None, None] for v in (detector.image_mean, detector.image_std))
    expected = detector((rgb(3) - mean) / std)
    out = network(rgb(3))
    assert out.shape == (3, 2, 56, 56)
    assert torch.equal(out[:, :1], expected.anomaly_map)
    assert torch.equal(out[:, 1], expected.score[:, None, None].expand(-1, 56, 56))


def test_torchscript_takes_any_batch(network: SingleTensorDetector) -> None:
    scripted = torch.jit.script(network)
    torch.testing.assert_close(scripted(rgb(5)), network(rgb(5)), rtol=0, atol=1e-6)


def test_torch_export_takes_any_batch(network: SingleTensorDetector) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (rgb(2),), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(rgb(5)), network(rgb(5)), rtol=0, atol=1e-6)
    # The text tower has become a constant: nothing in the graph reads its weights.
    text_weights = [n for n in program.graph.nodes if "prompt_learner" in n.name]
    assert text_weights
    assert not any(node.users for node in text_weights)


def test_state_dict_round_trip(network: SingleTensorDetector, small_clip: Path) -> None:
    other = SingleTensorDetector(
        create_model(small_clip, None, 56, (2, 6), dpam_layers=4, prompt_config=network.detector.prompt_learner.config)
    )
    assert (other(rgb(1)) - network(rgb(1))).abs().max() > 1e-3
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(rgb(1)), network(rgb(1)))


def test_a_state_dict_leaves_no_record_of_the_prompt_file_before_it(network: SingleTensorDetector) -> None:
    assert network.detector.prompts_sha256 is not None
    network.load_state_dict(network.state_dict())
    assert network.detector.prompts_name is None
    assert network.detector.prompts_sha256 is None
