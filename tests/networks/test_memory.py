"""Normal reference images: distances, maps and scores against nearest neighbours searched one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks import PromptConfig, memory, save_prompts
from anomalyclip_med.networks.memory import PatchMemory


def images(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 3, 56, 56, generator=torch.Generator().manual_seed(seed))


def distances(patches: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(B, P) of patches (B, layers, P, E) and those of normal images (k, layers, P, E), of any length."""
    out = torch.zeros(patches.shape[0], patches.shape[2])
    for layer in range(patches.shape[1]):
        for image, row in enumerate(patches[:, layer]):
            for place, patch in enumerate(row):
                nearest = max(F.cosine_similarity(patch, other, dim=0) for other in known[:, layer].flatten(0, 1))
                out[image, place] += max(0.0, 1 - nearest.item()) / patches.shape[1]
    return out


@pytest.mark.parametrize(
    ("method", "align_corners", "options"),
    [
        ("anomalyclip", False, {"prompt_config": PromptConfig(deep_depth=3), "dpam": "off", "sigma": 0.0}),
        ("anomalyclip", False, {"prompt_config": PromptConfig(deep_depth=3), "neighbourhood": (3,), "sigma": 0.0}),
        ("vand", True, {}),
    ],
)
def test_map_and_score_are_means_with_the_distance_to_the_nearest_normal_patch(
    small_clip: Path, method: str, align_corners: bool, options
) -> None:
    detector = create_model(small_clip, None, 56, (2, 6), method=method, **options)
    x, normal = images(2, 1), images(3, 2)
    before, features, of_normal = detector(x), detector.encode_image(x), detector.encode_image(normal)
    detector.remember(of_normal, ["a" * 64])
    out = detector(x)
    expected = distances(features["patch_features"], of_normal["patch_features"])
    maps = F.interpolate(expected.view(2, 1, 4, 4), 56, mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(out.anomaly_map, (before.anomaly_map + maps) / 2, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.score, (before.score + expected.amax(dim=1)) / 2, rtol=1e-5, atol=1e-5)
    assert expected.min() > 0.05
    torch.testing.assert_close(detector(x[1:]).anomaly_map, out.anomaly_map[1:])  # no matter what else is scored
    known = detector(normal)  # each patch is its own nearest
    assert (detector.memory.distances(detector.comparable_patches(of_normal)[0])).max() < 1e-5
    assert known.score.max() <= 0.5 + 1e-5
    assert detector.describe()["references"] == ["a" * 64]


def test_references_are_neither_settings_nor_weights(small_clip: Path, tmp_path: Path) -> None:
    config = PromptConfig(deep_depth=3)
    one, other = (create_model(small_clip, None, 56, (2, 6), prompt_config=config) for _ in range(2))
    other.remember(other.encode_image(images(1, 2)), ["b" * 64])
    assert one.settings() == other.settings()
    assert one.image_side() == other.image_side()
    assert one.state_dict().keys() == other.state_dict().keys()
    assert "references" not in one.describe()
    save_prompts(other, tmp_path / "prompts.safetensors")
    again = create_model(small_clip, tmp_path / "prompts.safetensors")
    torch.testing.assert_close(again(images(2, 1)).score, one(images(2, 1)).score)


def test_all_views_of_a_reference_are_remembered(small_clip: Path) -> None:
    config = PromptConfig(deep_depth=3)
    detector = create_model(small_clip, None, 56, (6,), prompt_config=config, flip=True, scales=[1.5])
    detector.remember(detector.encode_image(images(2, 2)), [])
    assert detector.memory.patches.shape == (1, 2 * 2 * (16 + 36), 64)
    plain = create_model(small_clip, None, 56, (6,), prompt_config=config)
    plain.remember(plain.encode_image(torch.cat([images(2, 2), images(2, 2).flip(-1)])), [])
    both_sizes = PatchMemory(detector.memory.patches)
    assert both_sizes.distances(plain.memory.patches[None]).max() < 1e-5


def test_no_more_patches_are_remembered_than_fit(monkeypatch) -> None:
    monkeypatch.setattr(memory, "MOST_PATCHES", 5)
    patches = F.normalize(torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    first, second = PatchMemory(patches), PatchMemory(patches)
    assert torch.equal(first.patches, second.patches)
    places = [[int((patches[layer] - row).abs().sum(-1).argmin()) for row in first.patches[layer]] for layer in (0, 1)]
    assert len(set(places[0])) == 5
    assert places[0] == places[1]
    assert PatchMemory(patches[:, :1]).distances(-patches[None, :, :1]).item() == 1  # not 2, of the opposite


@pytest.mark.parametrize("method", ["clip", "winclip", "coop"])
def test_methods_that_compare_no_patches_say_so(small_clip: Path, method: str) -> None:
    detector = create_model(small_clip, method=method, image_size=56)
    with pytest.raises(ConfigurationError, match="takes no normal images"):
        detector.remember(detector.encode_image(images(1, 2)), [])
