"""CLIP and CLIP-AC against plain arithmetic on a tiny CLIP."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError

from ..networks.plain import encode_image as side_path
from . import plain

NAMES = ["brain", "metal_nut", "brain"]


def clip_text(state, name: str) -> torch.Tensor:
    return plain.encode_text(state, [f"a photo of a normal {name}.", f"a photo of an anomalous {name}."])


def ensemble_text(state, name: str) -> torch.Tensor:
    features = []
    for word in ("normal", "anomalous"):
        sentences = [template(f"{word} {name}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES]
        assert len(sentences) == 80
        features.append(F.normalize(plain.encode_text(state, sentences), dim=-1).mean(dim=0))
    return torch.stack(features)


@pytest.mark.parametrize(("method", "text"), [("clip", clip_text), ("clip-ac", ensemble_text)])
def test_equals_the_plain_arithmetic(state, clip_file: Path, images, method: str, text) -> None:
    detector = create_model(clip_file, method=method, image_size=70)
    out = detector(images, NAMES)
    for row, name in enumerate(NAMES):
        score, anomaly_map = plain.patchwise(state, images[row : row + 1], text(state, name.replace("_", " ")))
        torch.testing.assert_close(out.score[row], score, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(out.anomaly_map[row, 0], anomaly_map, rtol=1e-4, atol=1e-5)
    assert out.score.std() > 0.01
    assert out.anomaly_map.std() > 0.01
    skin = create_model(clip_file, method=method, image_size=70, class_name="skin", sigma=0)
    score, anomaly_map = plain.patchwise(state, images[:1], text(state, "skin"), sigma=0)
    alone = skin(images[:1])
    torch.testing.assert_close(alone.score[0], score, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.anomaly_map[0, 0], anomaly_map, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(skin(images[:1], [""]).score, alone.score)  # a class that is not told


def test_the_methods_of_one_image_side_share_features(clip_file: Path, images) -> None:
    clip, ac, coop = (create_model(clip_file, method=m) for m in ("clip", "clip-ac", "coop"))
    assert clip.image_side() == ac.image_side() == coop.image_side()
    assert clip.image_side() != create_model(clip_file, method="clip", image_size=70).image_side()
    assert clip.image_size == 56  # the tower's own
    features = clip.encode_image(images[:, :, :56, :56])
    for other in (ac, coop):
        assert all(torch.equal(f, features[n]) for n, f in other.encode_image(images[:, :, :56, :56]).items())
    torch.testing.assert_close(ac.score_features(features).score, ac(images[:, :, :56, :56]).score)


@pytest.mark.parametrize(("method", "text"), [("clip", clip_text), ("clip-ac", ensemble_text)])
def test_dpam_takes_the_map_from_the_side_path_and_leaves_the_score(state, clip_file, images, method, text) -> None:
    """AnomalyCLIP's plain arithmetic of the side path, on an image of the tower's own size, where positions agree."""
    own = images[:, :, :56, :56]
    plain_map = create_model(clip_file, method=method, class_name="brain")
    detector = create_model(clip_file, method=method, class_name="brain", dpam="qq", sigma=0)
    _, (tokens,) = side_path(state, own, [6], range(1, 7), "qq")  # from the first quarter's last block on, of 6
    odds = (F.normalize(tokens[:, 1:], dim=-1) @ F.normalize(text(state, "brain"), dim=-1).T / 0.07).softmax(-1)[..., 1]
    expected = F.interpolate(odds.view(3, 1, 4, 4), 56, mode="bilinear")
    out = detector(own)
    torch.testing.assert_close(out.anomaly_map, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.score, plain_map(own).score)
    assert (out.anomaly_map - plain_map(own).anomaly_map).abs().max() > 0.01
    assert detector.settings()["dpam"] == detector.image_side()["dpam"] == "qq"
    assert "dpam" not in {**plain_map.settings(), **plain_map.image_side()}
    assert create_model(clip_file, method=method, dpam="off").image_side() == plain_map.image_side()
    with pytest.raises(ConfigurationError, match="dpam: no option of CoOp"):
        create_model(clip_file, method="coop", dpam="vv")


def test_texts_are_encoded_once_per_class(clip_file: Path, images, monkeypatch) -> None:
    detector = create_model(clip_file, method="clip", image_size=70)
    encoded = []
    encode = detector.encode_text
    monkeypatch.setattr(detector, "encode_text", lambda names: encoded.extend(names) or encode(names))
    detector.train()  # the texts are not learned: training changes nothing
    for names in (NAMES, ["skin", "brain", "brain"], None):
        detector.eval()(images, names)
    assert encoded == ["brain", "metal nut", "skin"]


def test_nothing_to_learn_is_told(clip_file: Path, images) -> None:
    detector = create_model(clip_file, method="clip", image_size=70)
    assert detector.trained
    assert detector.learned() == {}
    with pytest.raises(ConfigurationError, match="CLIP learns nothing"):
        detector.training_output(detector.encode_image(images))


def test_a_text_that_is_too_long_is_named(clip_file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'a photo of a normal brain brain.*77 positions"):
        create_model(clip_file, method="clip", class_name="brain " * 90)
