"""The detector against the arithmetic written out plainly, for many options; its contract; its cache."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks import AnomalyCLIP, PromptConfig, PromptLearner, save_prompts

from . import plain
from .conftest import openai_state, prompt_state


def images(count: int, size: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "layers", "dpam_layers", "side_blocks", "dpam", "sigma"),
    [
        (56, (2, 4, 6), 4, range(3, 7), "vv", 4.0),
        (98, (6,), 4, range(3, 7), "vv", 4.0),
        (70, (1, 3, 5), 3, range(4, 7), "qq", 2.0),
        (70, (3, 6), 6, range(1, 7), "kk", 4.0),
        (42, (2, 6), 1, range(6, 7), "vv", 0.0),
        (56, (1, 4, 6), (2, 4), range(2, 5), "vv", 4.0),
        (84, (3, 6), 4, range(0), "off", 4.0),
        (14, (6,), 4, range(3, 7), "vv", 4.0),
    ],
)
def test_equals_the_plain_arithmetic(
    small_state, small_clip, small_prompts, small_prompts_file, size, layers, dpam_layers, side_blocks, dpam, sigma
) -> None:
    detector = create_model(
        small_clip, small_prompts_file, size, layers, dpam_layers=dpam_layers, dpam=dpam, sigma=sigma
    )
    x = images(2, size)
    scores, maps, text, image_features, patch_features = plain.score(
        small_state, small_prompts, x, layers, side_blocks, dpam, sigma
    )
    out = detector(x)
    features = detector.encode_image(x)
    torch.testing.assert_close(detector.text_features, text, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features["image_features"], image_features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(detector.vision(x)[1], patch_features, rtol=1e-4, atol=1e-4)
    patches = F.normalize(torch.stack(patch_features, dim=1)[:, :, 1:], dim=-1)
    torch.testing.assert_close(features["patch_features"], patches, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.score, scores, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out.anomaly_map[:, 0], maps, rtol=1e-4, atol=1e-6)
    assert maps.std() > 0.01  # the case says something


def test_a_neighbourhood_is_the_mean_of_unit_patch_features(small_clip: Path, small_prompts_file: Path) -> None:
    """Averaged, compared and put through the softmax patch by patch; in training only the chosen layers."""
    options = {"image_size": 70, "feature_layers": (2, 4, 6), "dpam_layers": 4, "sigma": 0.0}
    detector = create_model(small_clip, small_prompts_file, neighbourhood=(3, 1, 5), **options)
    x, grid = images(2, 70), 5
    normal, abnormal = detector.text_features
    layers = []
    for tokens in detector.vision(x)[1]:
        patches, sides = F.normalize(tokens[:, 1:], dim=-1).unflatten(1, (grid, grid)), []
        for reach in (1, 0, 2):
            odds = torch.empty(2, grid, grid)
            for row in range(grid):
                for column in range(grid):
                    rows = slice(max(0, row - reach), row + reach + 1)
                    columns = slice(max(0, column - reach), column + reach + 1)
                    mean = F.normalize(patches[:, rows, columns].mean(dim=(1, 2)), dim=-1)
                    odds[:, row, column] = (mean @ abnormal - mean @ normal) / 0.07
            sides.append(odds)
        layers.append(torch.stack(sides))
    expected = torch.stack(layers)
    features = detector.encode_image(x)
    odds = detector.patch_log_odds(features, detector.text_features)
    torch.testing.assert_close(odds, expected, rtol=1e-5, atol=1e-5)
    maps = F.interpolate(expected.sigmoid().mean(dim=1), 70, mode="bilinear")
    torch.testing.assert_close(detector(x).anomaly_map[:, 0], maps.mean(dim=0), rtol=1e-5, atol=1e-6)
    for chosen in ((6, 2), (2, 4, 6)):
        of_layers = detector.training_output(features, layers=chosen).layer_maps
        places = [detector.feature_layers.index(layer) for layer in chosen]
        torch.testing.assert_close(of_layers, maps[places], rtol=1e-5, atol=1e-6)
    plain_features = create_model(small_clip, small_prompts_file, **options)
    assert "neighbourhood_lengths" not in plain_features.encode_image(x)
    assert plain_features.image_side() != detector.image_side()


@pytest.mark.parametrize("method", ["anomalyclip", "clip", "winclip", "coop", "vand"])
def test_one_file_with_two_activations_has_two_sets_of_features(small_clip: Path, method: str) -> None:
    """No tensor tells them apart, so neither does the file's hash."""
    options: dict = {"method": method, "image_size": 70}
    if method == "anomalyclip":
        options["prompt_config"] = {"deep_depth": 2}
    quick, exact = (create_model(small_clip, activation=a, **options) for a in ("quick_gelu", "gelu"))
    x = images(1, 70)
    assert not torch.equal(quick.encode_image(x)["image_features"], exact.encode_image(x)["image_features"])
    assert quick.backbone_sha256 == exact.backbone_sha256
    assert quick.image_side() != exact.image_side()
    assert quick.describe() != exact.describe()
    again = create_model(small_clip, activation="gelu", **options)
    assert again.image_side() == exact.image_side()
    again.image_mean = (0.5, 0.5, 0.5)
    assert again.image_side() != exact.image_side()


@pytest.mark.parametrize("method", ["anomalyclip", "vand"])
def test_negative_feature_layers_count_from_the_end(small_clip: Path, method: str) -> None:
    options = {} if method == "vand" else {"prompt_config": PromptConfig(deep_depth=3)}
    x = images(2, 56)
    one, other = (
        create_model(small_clip, None, 56, layers, method=method, **options) for layers in ((-1, 2, -3), (2, 4, 6))
    )
    assert one.settings() == other.settings()
    assert one.settings()["feature_layers"] == [2, 4, 6]
    assert torch.equal(one(x).anomaly_map, other(x).anomaly_map)
    assert create_model(small_clip, None, 56, -1, method=method, **options).feature_layers == (6,)


def test_untrained_is_a_working_detector() -> None:
    detector = create_model("untrained", image_size=70)
    out = detector(images(3, 70))
    assert out.score.shape == (3,)
    assert out.anomaly_map.shape == (3, 1, 70, 70)
    for values in out:
        assert values.min() >= 0
        assert values.max() <= 1
    assert not detector.trained
    torch.testing.assert_close(create_model("untrained", image_size=70)(images(3, 70)).score, out.score)


def test_results_do_not_depend_on_the_batch(small_clip: Path, small_prompts_file: Path) -> None:
    detector = create_model(small_clip, small_prompts_file, 56, (2, 4, 6), dpam_layers=4)
    x = images(8, 56)
    together, alone = detector(x), [detector(x[i : i + 1]) for i in range(8)]
    torch.testing.assert_close(together.score, torch.cat([o.score for o in alone]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together.anomaly_map, torch.cat([o.anomaly_map for o in alone]), rtol=0, atol=1e-5)
    assert together.score.std() > 1e-3


def test_text_features_are_computed_once_until_the_prompts_change(small_clip: Path, small_prompts_file: Path) -> None:
    with mock.patch.object(PromptLearner, "forward", autospec=True, side_effect=PromptLearner.forward) as text_tower:
        detector = create_model(small_clip, small_prompts_file, 56, (6,), dpam_layers=4)
        for _ in range(3):
            detector(images(2, 56))
            detector.eval()
        assert text_tower.call_count == 1
        before = detector.text_features
        with torch.no_grad():
            detector.prompt_learner.ctx_pos.neg_()
        assert (detector.text_features - before).abs().max() > 1e-4
        assert text_tower.call_count == 2
        detector(images(2, 56))
        assert text_tower.call_count == 2


def test_works_where_it_was_built_in_inference_mode(small_clip: Path, small_prompts_file: Path) -> None:
    expected = create_model(small_clip, small_prompts_file, 56, (6,), dpam_layers=4)(images(1, 56)).score
    with torch.inference_mode():
        detector = create_model(small_clip, small_prompts_file, 56, 6, dpam_layers=4)
    torch.testing.assert_close(detector(images(1, 56)).score, expected)


def test_only_the_prompts_train_and_the_vision_tower_keeps_no_graph(small_clip: Path) -> None:
    config = PromptConfig(deep_depth=3)
    detector = create_model(small_clip, None, 56, (6,), dpam_layers=4, prompt_config=config).train()
    assert {n for n, p in detector.named_parameters() if p.requires_grad} == {
        "prompt_learner.ctx_pos",
        "prompt_learner.ctx_neg",
        "prompt_learner.compound_prompts_text.0",
        "prompt_learner.compound_prompts_text.1",
    }
    x = images(1, 56).requires_grad_()
    features = detector.encode_image(x)
    assert not any(f.requires_grad for f in features.values())
    detector.training_output(features).layer_maps.mean().backward()
    assert detector.prompt_learner.ctx_neg.grad.abs().sum() > 0


def test_object_aware_prompts_put_the_class_name_in_the_words(small_state, small_clip, tmp_path) -> None:
    prompts = prompt_state(128, 12, 3, 4, seed=1)
    path = tmp_path / "prompts.safetensors"
    save_file(prompts, path)
    config = PromptConfig(class_name="brain")
    detector = create_model(small_clip, path, 56, (6,), dpam_layers=4, prompt_config=config)
    expected = plain.encode_prompts(small_state, prompts, ("brain.", "damaged brain."))
    torch.testing.assert_close(detector.text_features, expected, rtol=1e-4, atol=1e-5)


def test_object_aware_prompts_name_each_images_own_class(small_state, small_clip) -> None:
    """In one batch, in training and eval; prompts that are not ignore the classes."""
    config = PromptConfig(deep_depth=3, object_aware=True)
    detector = create_model(small_clip, None, 56, (2, 6), dpam_layers=4, prompt_config=config)
    with torch.no_grad():
        for tensor in detector.learned().values():
            tensor.mul_(50)
    names, x = ["metal nut", "brain", "metal nut"], images(3, 56)
    together = detector(x, names)
    prompts = {name: p.detach() for name, p in detector.learned().items()}
    logits = detector.train().training_output(detector.encode_image(x), names).image_logits
    for row, name in enumerate(names):
        words = (f"{name}.", f"damaged {name}.")
        scores, maps, *_ = plain.score(small_state, prompts, x[row : row + 1], (2, 6), range(3, 7), words=words)
        torch.testing.assert_close(together.score[row : row + 1], scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.anomaly_map[row], maps, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(logits[row].softmax(0)[1], scores[0], rtol=1e-4, atol=1e-5)
    assert (together.score - detector.eval()(x).score).abs().max() > 1e-3  # which say "object"
    agnostic = create_model(small_clip, None, 56, prompt_config=PromptConfig(deep_depth=3))
    assert torch.equal(agnostic(x, names).score, agnostic(x).score)


def test_grades_of_damage_add_their_probabilities(small_state, small_clip, tmp_path: Path) -> None:
    """Softmax over normal and three grades, for images, patches and neighbourhoods, in training and in a file."""
    grades = ["slightly damaged {}", "damaged {}", "severely damaged {}"]
    config = PromptConfig(deep_depth=3, abnormal=grades)
    options = {"image_size": 56, "feature_layers": (2, 6), "dpam_layers": 4, "sigma": 0.0}
    detector = create_model(small_clip, None, prompt_config={"deep_depth": 3, "abnormal": grades}, **options)
    assert detector.prompt_learner.config == config
    with torch.no_grad():
        for tensor in detector.learned().values():
            tensor.mul_(50)
    prompts = {name: p.detach() for name, p in detector.learned().items()}
    texts = [
        plain.encode_prompts(small_state, prompts, ("object.", f"{grade.replace('{}', 'object')}.")) for grade in grades
    ]
    states = torch.stack([texts[0][0], *(text[1] for text in texts)])
    torch.testing.assert_close(detector.text_features, states, rtol=1e-4, atol=1e-5)

    x = images(2, 56)
    out, features = detector(x), detector.encode_image(x)
    scores = 1 - (features["image_features"] @ states.T / 0.07).softmax(dim=-1)[:, 0]
    torch.testing.assert_close(out.score, scores, rtol=1e-4, atol=1e-5)
    patches = 1 - (features["patch_features"] @ states.T / 0.07).softmax(dim=-1)[..., 0]
    maps = F.interpolate(patches.unflatten(2, (4, 4)), 56, mode="bilinear")
    torch.testing.assert_close(out.anomaly_map[:, 0], maps.mean(dim=1), rtol=1e-4, atol=1e-5)
    assert maps.std() > 0.01
    trained = detector.train().training_output(features, layers=(2, 6))
    torch.testing.assert_close(trained.layer_maps, maps.transpose(0, 1), rtol=1e-4, atol=1e-5)
    cross_entropy = F.cross_entropy(trained.image_logits, torch.tensor([0, 1]))
    torch.testing.assert_close(cross_entropy, -((1 - scores[0]).log() + scores[1].log()) / 2, rtol=1e-4, atol=1e-5)
    cross_entropy.backward()
    assert all(p.grad.abs().max() > 0 for p in detector.learned().values())

    wide = create_model(small_clip, None, neighbourhood=(3,), prompt_config=config, **options)
    with torch.no_grad():
        for name, tensor in wide.learned().items():
            tensor.copy_(prompts[name])
    grid = features["patch_features"][:, 0].mT.unflatten(2, (4, 4))
    corner = F.normalize(grid[:, :, :2, :2].mean(dim=(2, 3)), dim=-1)
    expected = 1 - (corner @ states.T / 0.07).softmax(dim=-1)[:, 0]
    odds = wide.patch_log_odds(wide.encode_image(x), wide.eval().text_features)
    torch.testing.assert_close(odds[0, 0, :, 0, 0].sigmoid(), expected, rtol=1e-4, atol=1e-5)

    save_prompts(detector, tmp_path / "grades.safetensors")
    again = create_model(small_clip, tmp_path / "grades.safetensors")
    assert again.prompt_learner.config == config
    torch.testing.assert_close(again(x).anomaly_map, out.anomaly_map)


def test_grades_of_damage_name_each_images_class(small_clip: Path) -> None:
    config = PromptConfig(deep_depth=3, object_aware=True, abnormal=("worn {}", "broken {}"))
    detector = create_model(small_clip, None, 56, prompt_config=config)
    x, names = images(3, 56), ["brain", "skin", "brain"]
    together = detector(x, names)
    for row, name in enumerate(names):
        alone = detector(x[row : row + 1], [name])
        torch.testing.assert_close(together.score[row : row + 1], alone.score)
        torch.testing.assert_close(together.anomaly_map[row], alone.anomaly_map[0])


@pytest.mark.parametrize("abnormal", [(), ("worn {}",) * 17, ("worn {}", 3), 3 * ["x" * 301]])
def test_states_that_are_no_words_are_refused(abnormal) -> None:
    with pytest.raises(ConfigurationError, match="abnormal must be"):
        PromptConfig(abnormal=abnormal)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 60}, "not a multiple of the patch size 14: use 56 or 70"),
        ({"image_size": 14 * 10**6}, "image_size=14000000 exceeds the limit of 4096 pixels"),
        ({"feature_layers": (0, 6)}, "block numbers from 1 to 6"),
        ({"feature_layers": (3, 7)}, "block numbers from 1 to 6"),
        ({"feature_layers": (-7,)}, "block numbers from 1 to 6, or from -1, the last, to -6"),
        ({"feature_layers": ()}, "block numbers from 1 to 6"),
        ({"feature_layers": (2.5, 6)}, "block numbers from 1 to 6"),
        ({"feature_layers": ("six",)}, "block numbers from 1 to 6"),
        ({"dpam_layers": 7}, "does not fit a transformer of 6 blocks"),
        ({"dpam_layers": (5, 3)}, "does not fit"),
        ({"dpam_layers": [4]}, r"dpam_layers=\[4\] does not fit .* \(first, last\) pair"),
        ({"dpam_layers": (3, 5.5)}, "does not fit"),
        ({"neighbourhood": (2,)}, "must hold odd numbers"),
        ({"neighbourhood": (1.5,)}, "must hold odd numbers"),
        ({"dpam": "xx"}, "dpam='xx' is unknown: choose one of vv, qq, kk, off"),
        ({"score": "mean"}, "score='mean' is unknown: choose one of class_token, map, both"),
        ({"sigma": -1.0}, "must not be negative"),
        ({"sigma": 57.0}, "sigma=57.0 must not be negative, nor above the 56 pixels"),
        ({"sigma": float("inf")}, "sigma=inf must"),
        ({"sigma": float("nan")}, "sigma=nan must"),
        ({"prompt_config": PromptConfig(deep_depth=5)}, "text tower has 4 blocks"),
        ({"prompt_config": PromptConfig(deep_depth=2, context_length=75)}, "77 positions"),
    ],
)
def test_options_that_do_not_fit_are_refused(small_clip: Path, options: dict, message: str) -> None:
    fitting = {"image_size": 56, "feature_layers": (6,), "dpam_layers": 4, "prompt_config": PromptConfig(deep_depth=3)}
    with pytest.raises(ConfigurationError, match=message):
        create_model(small_clip, **{**fitting, **options})


def test_wrong_image_size_is_refused() -> None:
    detector = create_model("untrained", image_size=70)
    with pytest.raises(ConfigurationError, match=r"expected images of shape \(B, 3, 70, 70\), got \(1, 3, 84, 84\)"):
        detector(images(1, 84))


@pytest.mark.slow
def test_full_size_equals_the_plain_arithmetic(tmp_path: Path) -> None:
    """ViT-L/14@336 with seeded weights at 518 px, fp16 file: the size that the published prompts are for."""
    state = openai_state(1024, 24, 14, 24, 768, 12, 768, seed=11)
    state = {k: v.half().float() for k, v in state.items()}
    save_file({k: v.half() for k, v in state.items()}, tmp_path / "vit_l.safetensors")
    prompts = prompt_state(768, 12, 9, 4, seed=12)
    save_file(prompts, tmp_path / "prompts.safetensors")
    detector: AnomalyCLIP = create_model(tmp_path / "vit_l.safetensors", tmp_path / "prompts.safetensors")
    x = images(1, 518)
    with torch.no_grad():
        scores, maps, text, image_features, _ = plain.score(state, prompts, x, (6, 12, 18, 24), range(6, 25))
    out = detector(x)
    for actual, expected in (
        (detector.text_features, text),
        (detector.encode_image(x)["image_features"], image_features),
        (out.score, scores),
        (out.anomaly_map[:, 0], maps),
    ):
        assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()
