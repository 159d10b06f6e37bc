"""Several views of an image: their maps and scores against those of detectors that see one view each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyclip_med import create_model
from anomalyclip_med.networks import Detector, PromptConfig, save_prompts

METHODS = ["anomalyclip", "clip", "coop", "vand", "winclip"]


def build(clip: Path, method: str = "anomalyclip", **options) -> Detector:
    if method == "anomalyclip":
        options = {"prompt_config": PromptConfig(deep_depth=3), "neighbourhood": (1, 3), "score": "both", **options}
    detector = create_model(clip, method=method, image_size=56, **options)
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
    one, both = build(small_clip, method), build(small_clip, method, flip=True)
    expected, found = (d.train().training_output(d.encode_image(images), maps=method != "coop") for d in (one, both))
    for a, b in zip(expected, found, strict=True):
        assert (a is b is None) or torch.equal(a, b)
    save_prompts(both, tmp_path / "prompts.safetensors")
    again = create_model(small_clip, tmp_path / "prompts.safetensors", method=method)
    assert again.settings() == both.settings()
    torch.testing.assert_close(again(images).score, both.eval()(images).score)
    plain = create_model(small_clip, tmp_path / "prompts.safetensors", method=method, flip=False)
    torch.testing.assert_close(plain(images).score, one.eval()(images).score)
