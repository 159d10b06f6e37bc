"""The authors' own code, recorded: every stage agrees to float32 rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyclip_med import create_model
from anomalyclip_med.networks import AnomalyCLIP


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "clip_tiny" / "expected.npz"))


@pytest.fixture(scope="module")
def images(expected: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(expected["images"]).float()


@pytest.fixture(scope="module")
def detector(golden: Path, golden_clip: Path) -> AnomalyCLIP:
    prompts = golden / "clip_tiny" / "prompt_learner.safetensors"
    return create_model(
        clip=golden_clip, prompts=prompts, image_size=98, feature_layers=(6, 12, 18, 24), dpam_layers=19
    )


def assert_close(actual: torch.Tensor, expected: np.ndarray) -> None:
    """Within 1e-4 of the array's own scale."""
    assert tuple(actual.shape) == expected.shape
    difference = np.abs(actual.detach().numpy() - expected).max()
    assert difference <= 1e-4 * np.abs(expected).max()


def test_text_features(detector: AnomalyCLIP, expected: dict[str, np.ndarray]) -> None:
    assert_close(detector.text_features, expected["text_features"])


def test_image_and_patch_features(detector: AnomalyCLIP, images: torch.Tensor, expected: dict[str, np.ndarray]) -> None:
    features = detector.encode_image(images)
    assert_close(features["image_features"], expected["image_features"])
    _, patch_features = detector.vision(images)
    assert_close(torch.stack(patch_features), expected["patch_features"])
    patches = torch.nn.functional.normalize(torch.from_numpy(expected["patch_features"])[:, :, 1:], dim=-1)
    assert_close(features["patch_features"].transpose(0, 1), patches.numpy())


def test_layer_maps(detector: AnomalyCLIP, images: torch.Tensor, expected: dict[str, np.ndarray]) -> None:
    maps = detector.layer_maps(detector.encode_image(images), detector.text_features)
    assert_close(maps, expected["layer_maps"])


def test_scores_and_maps(detector: AnomalyCLIP, images: torch.Tensor, expected: dict[str, np.ndarray]) -> None:
    out = detector(images)
    assert_close(out.score, expected["anomaly_score"])
    assert_close(out.anomaly_map[:, 0] * 4, expected["anomaly_map"])


def test_gradients_reach_the_prompts_as_in_the_reference(
    golden: Path, golden_clip: Path, images: torch.Tensor, expected: dict[str, np.ndarray]
) -> None:
    """One Adam step on the recorded losses moves every prompt as the authors' training does (first of three)."""
    detector = create_model(
        clip=golden_clip,
        prompts=golden / "clip_tiny" / "prompt_learner.safetensors",
        image_size=98,
        dpam_layers=19,
    ).train()
    logits = detector.encode_image(images)["image_features"] @ detector.text_features.T / 0.07
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(expected["label"]))
    assert loss.item() == pytest.approx(expected["train_losses"][0, 1], rel=1e-5)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in detector.learned().values())
    assert all(p.grad is None for p in detector.vision.parameters())
