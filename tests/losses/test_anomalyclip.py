"""The losses against the authors' recorded training, closed forms and MONAI's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss, FocalLoss
from safetensors.torch import load_file

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.losses import AnomalyCLIPLoss, Targets, dice_loss, focal_loss, global_loss, local_loss
from anomalyclip_med.losses.anomalyclip import LOCAL_WEIGHT
from anomalyclip_med.networks import TrainingOutput

from ..conftest import snippets


def test_three_steps_of_training_are_the_authors(golden: Path, golden_clip: Path) -> None:
    """Losses of three Adam steps, and every prompt after them."""
    expected = dict(np.load(golden / "clip_tiny" / "expected.npz"))
    prompts = golden / "clip_tiny" / "prompt_learner.safetensors"
    detector = create_model(golden_clip, prompts, image_size=98).train()
    learned = detector.learned()
    images = torch.from_numpy(expected["images"]).float()
    masks, labels = torch.from_numpy(expected["gt"]).float(), torch.from_numpy(expected["label"])
    optimizer = torch.optim.Adam(learned.values(), lr=1e-3, betas=(0.5, 0.999))
    for step in range(3):
        output = detector.training_output(detector.encode_image(images), layers=(6, 12, 18, 24))
        local = LOCAL_WEIGHT * local_loss(output.layer_maps, masks)
        image = global_loss(output.image_logits, labels)
        np.testing.assert_allclose([local.item(), image.item()], expected["train_losses"][step], rtol=1e-4)
        optimizer.zero_grad()
        (local + image).backward()
        optimizer.step()
    for name, tensor in learned.items():
        # Adam divides by the gradient's size: where that is all rounding, so is the step.
        difference = (tensor.detach() - torch.from_numpy(expected[f"after3/{name}"])).abs()
        assert difference.quantile(0.999) < 1e-4
        assert difference.max() < 6e-3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), anomalous=st.floats(0.0, 1.0))
def test_monai_agrees_away_from_saturation(seed: int, anomalous: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(3, 8, 9, generator=generator) * 0.98 + 0.01
    y = (torch.rand(3, 8, 9, generator=generator) < anomalous).float()
    both = torch.stack([1 - p, p], dim=1)
    focal = FocalLoss(gamma=2.0, use_softmax=True, to_onehot_y=True)(both.log(), y[:, None]) * 2
    torch.testing.assert_close(focal_loss(p, y), focal, rtol=1e-3, atol=1e-4)
    dice = DiceLoss(smooth_nr=1, smooth_dr=1, to_onehot_y=True)(both, y[:, None]) * 2
    torch.testing.assert_close(dice_loss(p, y) + dice_loss(1 - p, 1 - y), dice, rtol=1e-5, atol=1e-6)


def test_a_saturated_pixel_costs_a_finite_amount() -> None:
    wrong = focal_loss(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    assert wrong.item() == pytest.approx(-((1 - 2e-5) ** 2) * np.log(2e-5), rel=1e-4)


def test_gradients_are_finite_at_both_ends() -> None:
    p = torch.tensor([[[0.0, 1.0, 0.0, 1.0]]], requires_grad=True)
    local_loss(p[None], torch.tensor([[[0.0, 1.0, 1.0, 0.0]]])).backward()
    assert torch.isfinite(p.grad).all()


def test_the_gradient_of_the_focal_loss_is_that_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(5)
    p = torch.rand(3, 5, 7, generator=generator, dtype=torch.float64).requires_grad_()
    y = (torch.rand(5, 7, generator=generator) > 0.5).double()
    smooth = y.clamp(1e-5, 1 - 1e-5)
    right = smooth * p + (1 - smooth) * (1 - p) + 1e-5
    definition = -((1 - right) ** 2 * right.log()).mean()
    (expected,) = torch.autograd.grad(definition, p)
    loss = 3 * focal_loss(p, y)
    torch.testing.assert_close(loss, 3 * definition)
    torch.testing.assert_close(torch.autograd.grad(loss, p)[0], 3 * expected)


def test_empty_masks_with_empty_maps_cost_nothing() -> None:
    assert dice_loss(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)).item() == 0


@pytest.fixture
def batch() -> tuple[TrainingOutput, Targets]:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(4, 2, generator=generator).requires_grad_()
    maps = torch.rand(2, 4, 6, 6, generator=generator)
    masks = (torch.rand(4, 6, 6, generator=generator) > 0.7).float()
    return TrainingOutput(logits, maps), Targets(torch.tensor([0, 1, 1, 0]), masks, torch.ones(4, dtype=torch.bool))


def test_the_terms_add_up_with_the_authors_weight(batch) -> None:
    output, targets = batch
    parts = {terms: AnomalyCLIPLoss(terms)(output, targets).item() for terms in ("both", "global", "local")}
    assert parts["global"] == pytest.approx(global_loss(output.image_logits, targets.labels).item())
    assert parts["local"] == pytest.approx(4 * local_loss(output.layer_maps, targets.masks).item())
    assert parts["both"] == pytest.approx(parts["global"] + parts["local"])


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(ConfigurationError, match="loss='dice' is unknown: choose one of both, global, local"):
        AnomalyCLIPLoss("dice")


def test_an_unmarked_image_adds_nothing_to_the_local_loss_and_halves_give_the_whole(batch) -> None:
    output, targets = batch
    loss = AnomalyCLIPLoss("local")
    some = targets._replace(known=torch.tensor([True, False, True, True]))
    changed = some._replace(masks=some.masks.clone().index_fill_(0, torch.tensor([1]), 0))
    assert loss(output, some).item() == loss(output, changed).item()
    single = [local_loss(output.layer_maps[:, i : i + 1], targets.masks[i : i + 1]).item() for i in (0, 2, 3)]
    assert loss(output, some).item() == pytest.approx(sum(single))  # 4 x a quarter each
    halves = []
    for half in (slice(0, 2), slice(2, 4)):
        part = TrainingOutput(output.image_logits[half], output.layer_maps[:, half])
        halves.append(loss(part, Targets(*(t[half] for t in some))).item())
    assert np.mean(halves) == pytest.approx(loss(output, some).item())


def test_a_batch_without_any_mark_still_has_a_gradient(batch) -> None:
    output, targets = batch
    loss = AnomalyCLIPLoss("local")(output, targets._replace(known=torch.zeros(4, dtype=torch.bool)))
    loss.backward()
    assert loss.item() == 0
    assert output.image_logits.grad.abs().max() == 0


def test_the_documented_steps_are_the_authors(golden: Path, golden_clip: Path, tmp_path: Path) -> None:
    """The snippet of the bundle's documentation, run on the recorded tensors."""
    expected = dict(np.load(golden / "clip_tiny" / "expected.npz"))
    given = {
        "clip": golden_clip,
        "prompts": golden / "clip_tiny" / "prompt_learner.safetensors",
        "image_size": 98,
        "feature_layers": [6, 12, 18, 24],
        "images": torch.from_numpy(expected["images"]).float(),
        "masks": torch.from_numpy(expected["gt"]).float(),
        "labels": torch.from_numpy(expected["label"]),
        "output": tmp_path / "prompts.safetensors",
    }
    (code,) = snippets("bundles/anomalyclip_zero_shot/docs/README.md", "AnomalyCLIPLoss")
    exec(code, given)
    np.testing.assert_allclose(given["losses"], expected["train_losses"].sum(axis=1), rtol=1e-4)
    tensors = load_file(tmp_path / "prompts.safetensors")
    for name, tensor in tensors.items():
        assert (tensor - torch.from_numpy(expected[f"after3/{name}"])).abs().quantile(0.999) < 1e-4
