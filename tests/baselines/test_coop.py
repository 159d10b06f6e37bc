"""CoOp against plain arithmetic, its training and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyclip_med import create_model
from anomalyclip_med.backbones import load_clip
from anomalyclip_med.baselines import CoOp
from anomalyclip_med.errors import WeightsError
from anomalyclip_med.losses import Targets, training_loss
from anomalyclip_med.networks import save_prompts

from . import plain

NAMES = ["brain", "metal nut", "brain"]
TARGETS = Targets(torch.tensor([0, 1, 1]), torch.zeros(3, 70, 70), torch.tensor([True, False, False]))


def text_features(state, context, name: str) -> torch.Tensor:
    places = " ".join(["X"] * len(context))
    return plain.encode_text(state, [f"{places} {word} {name}." for word in ("normal", "anomalous")], context)


def test_equals_the_plain_arithmetic(state, clip_file: Path, images) -> None:
    detector = create_model(clip_file, method="coop", image_size=70)
    context = detector.learned()["ctx"]
    assert context.shape == (16, 128)
    with torch.no_grad():
        context.mul_(50)  # as large as embeddings, so that they matter
    out = detector(images, NAMES)
    logits = detector.train().training_output(detector.encode_image(images), NAMES).image_logits
    for row, name in enumerate(NAMES):
        text = text_features(state, context.detach(), name)
        score, anomaly_map = plain.patchwise(state, images[row : row + 1], text)
        torch.testing.assert_close(out.score[row], score, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(out.anomaly_map[row, 0], anomaly_map, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(logits[row].softmax(0)[1], score, rtol=1e-4, atol=1e-5)


def test_only_the_context_trains_and_the_loss_falls(clip_file: Path, images) -> None:
    detector = create_model(clip_file, method="coop", image_size=70).train()
    assert {n for n, p in detector.named_parameters() if p.requires_grad} == {"texts.ctx"}
    features = detector.encode_image(images)
    optimizer = torch.optim.Adam(detector.learned().values(), lr=1e-3, betas=(0.5, 0.999))
    losses = []
    for _ in range(4):
        loss = training_loss(detector.method, "global")(detector.training_output(features, NAMES), TARGETS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]


def test_round_trip_with_another_length(clip_file: Path, images, tmp_path: Path) -> None:
    saved = CoOp(load_clip(clip_file), image_size=70, sigma=2.0, class_name="skin", context_length=5, seed=4).eval()
    saved.prompts_trained = True
    save_prompts(saved, tmp_path / "coop.safetensors")
    again = create_model(clip_file, tmp_path / "coop.safetensors", method="coop")
    assert again.trained
    assert again.settings() == saved.settings() == {"image_size": 70, "sigma": 2.0, "class_name": "skin"}
    assert torch.equal(again.learned()["ctx"], saved.learned()["ctx"])
    torch.testing.assert_close(again(images).score, saved(images).score)
    for method in ("anomalyclip", "vand"):
        with pytest.raises(WeightsError, match=r"coop\.safetensors: holds what CoOp learned, not "):
            create_model(clip_file, tmp_path / "coop.safetensors", method=method)
    save_prompts(create_model(clip_file, method="vand", image_size=70), tmp_path / "vand.safetensors")
    with pytest.raises(WeightsError, match="holds what VAND learned, not CoOp"):
        create_model(clip_file, tmp_path / "vand.safetensors", method="coop")
    with pytest.raises(WeightsError, match="trained with the CLIP tiny"):
        create_model("untrained", tmp_path / "coop.safetensors", method="coop")
