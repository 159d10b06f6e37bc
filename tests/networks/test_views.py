"""Several views of an image: their maps and scores against those of detectors that see one view each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks import Detector, PromptConfig, save_prompts

METHODS = ["anomalyclip", "clip", "coop", "vand", "winclip"]


def build(clip: Path, method: str = "anomalyclip", **options) -> Detector:
    if method == "anomalyclip":
        options = {"prompt_config": PromptConfig(deep_depth=3), "neighbourhood": (1, 3), "score": "both", **options}
    detector = create_model(clip, method=method, **{"image_size": 56, **options})
    with torch.no_grad():
        for tensor in detector.learned().values():
            tensor.mul_(20)  # texts apart, so that the cases say something
    return detector


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("method", METHODS)
def test_flip_is_the_mean_over_the_image_and_its_mirror_image(small_clip: Path, images, method: str) -> None:
    one, both = build(small_clip, method), build(small_clip, method, flip=True)
    seen, mirrored = one(images), one(images.flip(-1))
    out = both(images)
    torch.testing.assert_close(out.anomaly_map, (seen.anomaly_map + mirrored.anomaly_map.flip(-1)) / 2)
    torch.testing.assert_close(out.score, (seen.score + mirrored.score) / 2)
    assert (out.anomaly_map - seen.anomaly_map).abs().max() > 1e-3
    turned = both(images.flip(-1))
    torch.testing.assert_close(turned.anomaly_map, out.anomaly_map.flip(-1))
    torch.testing.assert_close(turned.score, out.score)


def map_of_scale(detector: Detector, images: torch.Tensor) -> torch.Tensor:
    """The map at 56 px of images of the detector's own size, written out."""
    features = detector.encode_image(images)
    patches, texts = features["patch_features"], detector.text_features
    if detector.method == "VAND":
        layers = []
        for number, tokens in enumerate(patches.unbind(dim=1)):
            tokens = F.normalize(detector.fc[number](tokens), dim=-1)
            logits = (tokens @ texts.T / 0.01).transpose(1, 2).unflatten(2, (6, 6))
            logits = F.interpolate(logits, 56, mode="bilinear", align_corners=True)
            layers.append(logits.softmax(dim=1)[:, 1:])
        return torch.stack(layers).mean(dim=0).detach()
    if detector.method == "CLIP":
        patches = patches[:, None]
    odds = [(patches @ texts.T / 0.07).softmax(dim=-1)[..., 1].unflatten(2, (6, 6))]
    if detector.method == "AnomalyCLIP":
        odds.append(detector.patch_log_odds(features, texts)[:, 1].sigmoid().transpose(0, 1))
    return F.interpolate(torch.stack(odds).mean(dim=(0, 2))[:, None], 56, mode="bilinear")


@pytest.mark.parametrize(
    ("method", "options"), [("anomalyclip", {"sigma": 0.0}), ("clip", {"sigma": 0.0}), ("vand", {})]
)
def test_scales_average_the_maps_and_leave_the_score(small_clip: Path, images, method: str, options) -> None:
    one, large = build(small_clip, method, **options), build(small_clip, method, image_size=84, **options)
    several = build(small_clip, method, scales=[1.0, 1.5], **options)
    seen = one(images)
    resized = F.interpolate(images, (84, 84), mode="bicubic", antialias=True)
    expected = (seen.anomaly_map + map_of_scale(large, resized)) / 2
    out = several(images)
    torch.testing.assert_close(out.anomaly_map, expected)
    assert (out.anomaly_map - seen.anomaly_map).abs().max() > 1e-3
    assert torch.equal(out.score, seen.score)

    mirrored = F.interpolate(images.flip(-1), (84, 84), mode="bicubic", antialias=True)
    maps = [expected * 2, (one(images.flip(-1)).anomaly_map + map_of_scale(large, mirrored)).flip(-1)]
    both = build(small_clip, method, flip=True, scales=[1.5], **options)
    torch.testing.assert_close(both(images).anomaly_map, sum(maps) / 4)
    flipped = build(small_clip, method, flip=True, **options)
    assert torch.equal(both(images).score, flipped(images).score)

    assert both.settings() == {**one.settings(), "flip": True, "scales": [1.5]}
    assert several.image_side() == {**one.image_side(), "scales": [1.5]}
    features = both.encode_image(images)
    assert {name.rpartition("/")[0] for name in features} == {"", "mirrored", "84", "84/mirrored"}
    last = both.score_features({name: values[2:] for name, values in features.items()})
    torch.testing.assert_close(last.anomaly_map, both(images).anomaly_map[2:])
    assert both.state_dict().keys() == one.state_dict().keys()  # no copies of weights


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ([1.5, 1.51], "must differ from each other"),
        ([1.1], "from the image's own size"),
        ([0.1], "from 0"),
        ([1e308], "exceed the limit of 4096"),
        ([-1.0], "positive numbers"),
        (["2"], "positive numbers"),
    ],
)
def test_scales_that_do_not_fit_are_refused(small_clip: Path, scales, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build(small_clip, scales=scales)
    with pytest.raises(ConfigurationError, match="scales: no option of WinCLIP"):
        build(small_clip, "winclip", scales=[1.5])


@pytest.mark.parametrize("method", METHODS)
def test_views_are_kept_with_the_image_and_told(small_clip: Path, images, method: str) -> None:
    one, both = build(small_clip, method), build(small_clip, method, flip=True)
    features = both.encode_image(images)
    assert {len(values) for values in features.values()} == {3}
    assert {name for name in features if "/" not in name} == set(one.encode_image(images))
    last = both.score_features({name: values[2:] for name, values in features.items()})
    torch.testing.assert_close(last.anomaly_map, both(images).anomaly_map[2:])
    assert both.settings() == {**one.settings(), "flip": True}
    assert both.image_side() == {**one.image_side(), "flip": True}
    assert "flip" not in {**one.settings(), **one.image_side()}
    assert build(small_clip, method, flip=False).image_side() == one.image_side()


@pytest.mark.parametrize("method", ["anomalyclip", "vand", "coop"])
def test_training_sees_the_image_as_it_is_and_prompts_bring_their_views(small_clip, images, tmp_path, method) -> None:
    views = {"flip": True, "scales": [0.5]}
    one, both = build(small_clip, method), build(small_clip, method, **views)
    expected, found = (d.train().training_output(d.encode_image(images), maps=method != "coop") for d in (one, both))
    for a, b in zip(expected, found, strict=True):
        assert (a is b is None) or torch.equal(a, b)
    save_prompts(both, tmp_path / "prompts.safetensors")
    again = create_model(small_clip, tmp_path / "prompts.safetensors", method=method)
    assert again.settings() == both.settings()
    torch.testing.assert_close(again(images).score, both.eval()(images).score)
    plain = create_model(small_clip, tmp_path / "prompts.safetensors", method=method, flip=False, scales=[])
    torch.testing.assert_close(plain(images).score, one.eval()(images).score)
