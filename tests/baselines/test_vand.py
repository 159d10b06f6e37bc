"""VAND against plain arithmetic, its loss and training, its own repository's files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError, WeightsError
from anomalyclip_med.losses import Targets, VANDLoss, focal_loss, training_loss
from anomalyclip_med.networks import TrainingOutput, save_prompts

from . import plain

NORMAL = [
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
]
ABNORMAL = ["damaged {}", "broken {}", "{} with flaw", "{} with defect", "{} with damage"]
ADJECTIVES = [
    "bad",
    "good",
    "low resolution",
    "cropped",
    "bright",
    "dark",
    "close-up",
    "black and white",
    "jpeg corrupted",
    "blurry",
]
TEMPLATES = [
    *(f"a {adjective} photo of {article} {{}}." for adjective in ADJECTIVES for article in ("a", "the")),
    *("a photo of a {}.", "a photo of the {}.", "a photo of my {}.", "a photo of one {}."),
    *("a photo of a cool {}.", "a photo of the cool {}.", "a photo of a large {}.", "a photo of the large {}."),
    *("a photo of a small {}.", "a photo of the small {}."),
    *("there is a {} in the scene.", "there is the {} in the scene."),
    *("this is a {} in the scene.", "this is the {} in the scene.", "this is one {} in the scene."),
]
NAMES = ["brain", "metal nut", "brain"]
LAYERS = (1, 3, 4, 6)


@pytest.fixture
def layers() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    weights = {f"fc.{i}.weight": torch.randn(64, 128, generator=generator) / 11 for i in range(4)}
    return weights | {f"fc.{i}.bias": torch.randn(64, generator=generator) / 5 for i in range(4)}


@pytest.fixture
def authors_file(layers, tmp_path: Path) -> Path:
    torch.save({"trainable_linearlayer": layers}, tmp_path / "epoch_3.pth")
    return tmp_path / "epoch_3.pth"


def text_features(state, name: str) -> torch.Tensor:
    states = [[t.format(s.format(name)) for s in wordings for t in TEMPLATES] for wordings in (NORMAL, ABNORMAL)]
    assert [len(s) for s in states] == [7 * 35, 5 * 35]
    return torch.stack([F.normalize(plain.encode_text(state, s), dim=-1).mean(dim=0) for s in states])


def test_equals_the_plain_arithmetic_with_the_authors_file(
    state, clip_file: Path, layers, authors_file, images
) -> None:
    detector = create_model(clip_file, authors_file, method="vand", image_size=70, feature_layers=LAYERS)
    assert detector.trained
    assert any(w.startswith("prompts-backbone-unrecorded: epoch_3.pth") for w in detector.warnings)
    out = detector(images, NAMES)
    maps = detector.training_output(detector.encode_image(images), NAMES).layer_maps
    for row, name in enumerate(NAMES[:2]):
        text = F.normalize(text_features(state, name), dim=-1)
        after = plain.blocks(state, "visual.", plain.tokens_of(state, images[row : row + 1]))
        expected = []
        for i, number in enumerate(LAYERS):
            patches = after[number - 1][0, 1:] @ layers[f"fc.{i}.weight"].T + layers[f"fc.{i}.bias"]
            logits = (100 * F.normalize(patches, dim=-1) @ text.T).T.reshape(1, 2, 5, 5)
            logits = F.interpolate(logits, (70, 70), mode="bilinear", align_corners=True)
            expected.append(logits.softmax(dim=1)[0, 1])
        torch.testing.assert_close(maps[:, row], torch.stack(expected), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(out.anomaly_map[row, 0], sum(expected) / 4, rtol=1e-3, atol=1e-4)
        score = plain.abnormal(plain.into_joint_space(state, after[-1][0, 0]), text, temperature=0.01)
        torch.testing.assert_close(out.score[row], score, rtol=1e-3, atol=1e-4)
    assert out.anomaly_map.std() > 0.01
    assert not out.anomaly_map.requires_grad


def test_the_loss_is_focal_and_dice_of_the_abnormal_map_over_all_layers() -> None:
    generator = torch.Generator().manual_seed(4)
    maps = torch.rand(2, 4, 6, 6, generator=generator).requires_grad_()
    masks = (torch.rand(4, 6, 6, generator=generator) > 0.7).float()
    known = torch.tensor([True, False, True, True])
    dice = DiceLoss(smooth_nr=1, smooth_dr=1)  # of one channel
    expected = sum(
        0.75 * (focal_loss(m[known], masks[known]) + dice(m[known][:, None], masks[known][:, None])) for m in maps
    )
    output = TrainingOutput(torch.zeros(4, 2), maps)
    loss = VANDLoss()(output, Targets(torch.tensor([0, 1, 1, 0]), masks, known))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    none = VANDLoss()(output, Targets(torch.tensor([1, 1, 1, 1]), masks, torch.zeros(4, dtype=torch.bool)))
    none.backward()
    assert none.item() == maps.grad.abs().max() == 0


def test_only_the_linear_layers_train_and_the_loss_falls(clip_file: Path, images) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    detector = create_model(clip_file, method="vand", image_size=70).train()
    assert torch.equal(torch.get_rng_state(), before)
    assert {n for n, p in detector.named_parameters() if p.requires_grad} == set(detector.learned())
    assert sum(p.numel() for p in detector.learned().values()) == 4 * (128 * 64 + 64)
    masks = torch.zeros(3, 70, 70)
    masks[1, 10:30, 20:50] = 1
    targets = Targets(torch.tensor([0, 1, 0]), masks, torch.ones(3, dtype=torch.bool))
    features = detector.encode_image(images)
    optimizer = torch.optim.Adam(detector.learned().values(), lr=1e-3, betas=(0.5, 0.999))
    losses = []
    for _ in range(4):
        loss = training_loss(detector.method, "local")(detector.training_output(features, NAMES), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]
    with pytest.raises(ConfigurationError, match="VAND trains all its feature layers"):
        detector.training_output(features, NAMES, layers=[6])


def test_round_trip(clip_file: Path, images, tmp_path: Path) -> None:
    saved = create_model(clip_file, method="vand", image_size=70, feature_layers=(2, 5), class_name="skin", seed=2)
    save_prompts(saved, tmp_path / "vand.safetensors")
    again = create_model(clip_file, tmp_path / "vand.safetensors", method="vand")
    assert not again.trained  # saved as they start
    assert again.settings() == {"image_size": 70, "feature_layers": [2, 5], "class_name": "skin"}
    torch.testing.assert_close(again(images).anomaly_map, saved(images).anomaly_map)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.1.weight": torch.zeros(64, 120)}, r"fc\.1\.weight has shape \(64, 120\), but .* need \(64, 128\)"),
        ({"fc.0.bias": torch.zeros(32)}, r"fc\.0\.bias has shape \(32,\)"),
        ({"fc.0.bias": torch.zeros(64, 1)}, r"fc\.0\.bias has the shape \(64, 1\)"),
        ({"fc.4.weight": torch.zeros(64, 128)}, r"fc\.4\.weight has shape .* need None"),
        ({"fc.3.bias": None}, r"fc\.3\.bias missing"),
        ({"fc.0.weight": None}, r"not a prompt checkpoint: fc\.0\.weight missing"),
        ({"head.weight": torch.zeros(2, 2)}, r"unexpected head\.weight"),
        ({"fc.2.bias": torch.full((64,), float("nan"))}, r"fc\.2\.bias is not a tensor of finite numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(clip_file: Path, layers, tmp_path: Path, change, message: str) -> None:
    changed = {name: value for name, value in (layers | change).items() if value is not None}
    torch.save({"trainable_linearlayer": changed}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=message):
        create_model(clip_file, tmp_path / "bad.pth", method="vand", image_size=70, feature_layers=LAYERS)


def test_a_file_of_another_method_is_refused(clip_file: Path, authors_file: Path) -> None:
    for method in ("anomalyclip", "coop"):
        with pytest.raises(WeightsError, match=r"epoch_3\.pth: holds what VAND learned, not "):
            create_model(clip_file, authors_file, method=method)
    with pytest.raises(ConfigurationError, match=r"epoch_3\.pth: WinCLIP learns nothing, it takes no prompts"):
        create_model(clip_file, authors_file, method="winclip")
