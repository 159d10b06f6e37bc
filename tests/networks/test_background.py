"""The black around the body: which patches it is, and what comes of leaving them out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks import Detector, PromptConfig, SingleTensorDetector, save_prompts
from anomalyclip_med.networks.background import body_patches, spread_tokens

PATCH = 14
SIDE = 8 * PATCH


def build(clip: Path, method: str = "anomalyclip", **options) -> Detector:
    if method == "anomalyclip":
        options = {"prompt_config": PromptConfig(deep_depth=3), "score": "both", **options}
    return create_model(clip, method=method, **{"image_size": SIDE, **options})


def picture(layout: str) -> torch.Tensor:
    """An image in [0, 1] of patches: '#' bright noise, '.' nearly black, ',' nearly black but for one pixel."""
    rows = [row.strip() for row in layout.split()]
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(3, len(rows) * PATCH, len(rows) * PATCH, generator=generator) * 0.049
    for y, row in enumerate(rows):
        for x, kind in enumerate(row):
            patch = image[:, y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH]
            if kind == "#":
                patch.copy_(torch.rand(patch.shape, generator=generator))
            elif kind == ",":
                patch[1, 3, 5] = 0.06
    return image


def mask(layout: str) -> torch.Tensor:
    return torch.tensor([kind == "1" for kind in layout.replace(" ", "").replace("\n", "")])


HOLLOW = """........
            ..####..
            ..#..#..
            ..#..#..
            ..####..
            .......,
            ........
            ........"""
HOLLOW_BACKGROUND = """11111111
                       11000011
                       11000011
                       11000011
                       11000011
                       11111110
                       11111111
                       11111111"""
HOLLOW_KEPT = """01111110
                 01111110
                 01111110
                 01111110
                 01111111
                 01111111
                 00000011
                 00000000"""
BODY = """........
          ........
          ..##....
          ..##....
          ..##....
          ........
          ........
          ........"""
FULL = "########\n" * 8


def images(detector: Detector, *layouts: str) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (detector.image_mean, detector.image_std))
    return (torch.stack([picture(layout) for layout in layouts]) - mean) / std


def test_background_is_dark_throughout_and_reaches_the_border() -> None:
    """What is dark inside the body is not; one brighter pixel, in one channel, makes a patch body."""
    background, kept = body_patches(picture(HOLLOW)[None], torch.full((3, 1, 1), 0.05), PATCH)
    assert torch.equal(background[0], mask(HOLLOW_BACKGROUND))
    assert torch.equal(kept[0], mask(HOLLOW_KEPT))


def test_as_many_are_kept_as_make_a_step_those_next_to_the_margin_first() -> None:
    """A sixteenth of 64 patches are four: nine are filled up to twelve, row by row."""
    layout = """........
                ........
                ........
                ........
                ....#...
                ........
                ........
                ........"""
    _, kept = body_patches(picture(layout)[None], torch.full((3, 1, 1), 0.05), PATCH)
    expected = """00000000
                  00000000
                  00111000
                  00011100
                  00011100
                  00011100
                  00000000
                  00000000"""
    assert torch.equal(kept[0], mask(expected))


@pytest.mark.parametrize(
    "layout", [FULL, "........\n" * 8, "......##\n" + "########\n" * 7], ids=["full", "air", "corner"]
)
def test_all_is_kept_of_a_full_a_black_and_an_almost_full_picture(layout: str) -> None:
    _, kept = body_patches(picture(layout)[None], torch.full((3, 1, 1), 0.05), PATCH)
    assert kept.all()


@pytest.mark.parametrize("method", ["anomalyclip", "clip"])
def test_where_nothing_is_left_out_nothing_changes(small_clip: Path, method: str) -> None:
    exact, skipping = build(small_clip, method), build(small_clip, method, skip_background=True)
    x = images(exact, FULL, FULL)
    out, expected = skipping(x), exact(x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    both = skipping(images(exact, BODY, FULL))
    torch.testing.assert_close(both.anomaly_map[1], exact(images(exact, BODY, FULL)).anomaly_map[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("anomalyclip", {}),
        ("anomalyclip", {"dpam": "off", "neighbourhood": (1, 3), "flip": True, "scales": [1.5]}),
        ("clip", {}),
        ("vand", {"precision": "int8"}),
    ],
)
def test_results_do_not_depend_on_the_batch(small_clip: Path, method: str, options) -> None:
    detector = build(small_clip, method, skip_background=True, **options)
    x = images(detector, BODY, FULL, HOLLOW, BODY)
    out = detector(x)
    for row, image in enumerate(x):
        alone = detector(image[None])
        torch.testing.assert_close(alone.anomaly_map[0], out.anomaly_map[row], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone.score[0], out.score[row], rtol=0, atol=1e-5)


def test_features_are_those_of_the_kept_tokens_and_the_mean_of_the_background(small_clip: Path) -> None:
    """Against open_clip's own blocks on hand-picked tokens."""
    detector = build(small_clip, "vand", skip_background=True)
    exact = build(small_clip, "vand")
    x = images(detector, HOLLOW)
    kept, background = mask(HOLLOW_KEPT), mask(HOLLOW_BACKGROUND)
    with torch.no_grad():
        tokens = exact.vision.embed(x)[:, torch.cat([torch.tensor([True]), kept])]
        layers = []
        for block in exact.vision.visual.transformer.resblocks:
            tokens = block(tokens)
            layers.append(tokens[0, 1:])
        image_feature = F.normalize(exact.vision.project(exact.vision.visual.ln_post(tokens[:, 0])), dim=-1)
    features = detector.encode_image(x)
    torch.testing.assert_close(features["image_features"], image_feature, rtol=0, atol=1e-5)
    for row, number in enumerate(detector.feature_layers):
        patches, expected = features["patch_features"][0, row], layers[number - 1]
        torch.testing.assert_close(patches[kept], expected, rtol=0, atol=1e-5)
        mean = expected[background[kept]].mean(dim=0)
        torch.testing.assert_close(patches[~kept], mean.expand_as(patches[~kept]), rtol=0, atol=1e-5)


def test_spread_tokens_on_numbers() -> None:
    tokens = torch.tensor([[9.0], [1], [2], [6]])[None]  # the class token, then kept patches 0, 2 and 3
    background, kept = torch.tensor([[False, True, True, True]]), torch.tensor([[True, False, True, True]])
    assert spread_tokens(tokens, background, kept).flatten().tolist() == [9, 1, 4, 2, 6]


def test_a_mirrored_image_has_the_mirrored_map(small_clip: Path) -> None:
    detector = build(small_clip, skip_background=True, flip=True)
    x = images(detector, HOLLOW, BODY)
    out, turned = detector(x), detector(x.flip(-1))
    torch.testing.assert_close(turned.anomaly_map.flip(-1), out.anomaly_map, rtol=0, atol=1e-5)
    alone = build(small_clip, skip_background=True)(x).anomaly_map
    assert (out.anomaly_map - alone).abs().max() > 1e-4


def test_a_normal_image_is_its_own_nearest_neighbour(small_clip: Path) -> None:
    detector = build(small_clip, skip_background=True)
    x = images(detector, HOLLOW)
    before = detector(x)
    detector.remember(detector.encode_image(x), ["sha"])
    torch.testing.assert_close(detector(x).anomaly_map, before.anomaly_map / 2, rtol=0, atol=1e-5)


def test_it_is_recorded_and_comes_with_the_prompts(small_clip: Path, tmp_path: Path) -> None:
    detector = build(small_clip, skip_background=True)
    plain = build(small_clip)
    assert detector.image_side() == {**plain.image_side(), "skip_background": True}
    assert detector.describe()["skip_background"] is True
    assert "skip_background" not in plain.describe()
    save_prompts(detector, tmp_path / "prompts.safetensors")
    assert create_model(small_clip, tmp_path / "prompts.safetensors").views.skip_background
    exact = create_model(small_clip, tmp_path / "prompts.safetensors", skip_background=False)
    x = images(exact, BODY)
    torch.testing.assert_close(exact(x).anomaly_map, plain(x).anomaly_map)


def test_what_cannot_be_done_is_refused(small_clip: Path) -> None:
    with pytest.raises(ConfigurationError, match="skip_background: no option of WinCLIP"):
        build(small_clip, "winclip", skip_background=True)
    network = SingleTensorDetector(build(small_clip, skip_background=True))
    with pytest.raises(ConfigurationError, match=r"skip_background: .* no export can hold"):
        torch.jit.trace(network, torch.zeros(1, 3, SIDE, SIDE))
