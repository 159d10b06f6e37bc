"""One door to all methods: defaults, options that do not fit, backbones without words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyclip_med import create_model
from anomalyclip_med.backbones import load_clip
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.factory import METHODS


def test_every_method_by_its_name() -> None:
    assert list(METHODS) == ["anomalyclip", "clip", "clip-ac", "winclip", "coop", "vand"]
    x = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    for name in METHODS:
        detector = create_model("untrained", image_size=70, method=name)
        out = detector(x, ["brain", "skin"])
        assert detector.describe()["method"].lower() == name
        assert out.score.shape == (2,)
        assert out.anomaly_map.shape == (2, 1, 70, 70)
        assert all(v.min() >= 0 and v.max() <= 1 and not v.requires_grad for v in out)
        one = detector(x[1:], ["skin"])
        torch.testing.assert_close(one.score, out.score[1:], rtol=0, atol=1e-5)
        torch.testing.assert_close(one.anomaly_map, out.anomaly_map[1:], rtol=0, atol=1e-5)
        assert not detector.trained


def test_each_method_has_its_own_backbone(monkeypatch) -> None:
    asked = []
    untrained = load_clip("untrained")
    monkeypatch.setattr("anomalyclip_med.factory.load_clip", lambda source, **_: asked.append(source) or untrained)
    sizes = [create_model(method=name).image_size for name in ("clip", "clip-ac", "winclip", "coop", "vand")]
    plus, large = "ViT-B-16-plus-240/laion400m_e31", "ViT-L-14-336/openai"
    assert asked == [large, large, plus, large, large]
    assert sizes == [70, 70, 70, 70, 518]  # the tower's own but for VAND


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("wincilp", {}, r"method='wincilp' is unknown \(did you mean winclip\?\): choose one of anomalyclip, clip"),
        ("clip", {"score": "map", "top_fraction": 0.1}, "score, top_fraction: no option of CLIP"),
        ("winclip", {"sigma": 2.0}, "sigma: no option of WinCLIP"),
        ("coop", {"feature_layers": 3}, "feature_layers: no option of CoOp"),
        ("vand", {"neighbourhood": [3]}, "neighbourhood: no option of VAND"),
        ("anomalyclip", {"class_name": "brain"}, "class_name: no option of AnomalyCLIP"),
        ("vand", {"image_size": 60}, "multiple of the patch size 14"),
        ("clip", {"sigma": -1.0}, "sigma=-1.0 must not be negative"),
    ],
)
def test_options_that_do_not_fit_are_refused(method: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        create_model("untrained", method=method, **options)


@pytest.fixture
def cache(offline_cache: Path, monkeypatch) -> None:
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(offline_cache))


def test_a_backbone_without_a_text_tower_is_refused(cache, monkeypatch) -> None:
    offline = load_clip("offline")
    monkeypatch.setattr("anomalyclip_med.factory.load_clip", lambda *_, **__: offline)
    for method in ("clip", "clip-ac", "winclip", "coop", "vand"):
        with pytest.raises(ConfigurationError, match=r"offline has no text tower: name a CLIP .* offline-text"):
            create_model("offline", method=method, image_size=56)


def test_the_offline_backbone_with_an_untrained_text_tower(cache) -> None:
    """The vision tower is the offline one; the texts are the same each time, and random."""
    offline, first, second = (load_clip(n) for n in ("offline", "offline-text", "offline-text"))
    assert (first.name, first.trained) == ("offline-text", False)
    assert first.sha256 == second.sha256 != offline.sha256
    assert first.warnings[-1].startswith("untrained-text: ")
    assert first.warnings[:-1] == offline.warnings
    text = first.clip.encode_text(torch.arange(154).view(2, 77))
    assert text.shape == (2, 384)
    assert torch.equal(text, second.clip.encode_text(torch.arange(154).view(2, 77)))
    images = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    features = [
        create_model(n, image_size=56).encode_image(images)["patch_features"] for n in ("offline", "offline-text")
    ]
    assert torch.equal(*features)
    detector = create_model("offline-text", image_size=56)
    assert set(detector.learned()) >= {"ctx_pos", "ctx_neg", "compound_prompts_text.7"}
    assert not any(p.requires_grad for p in detector.vision.parameters())
    assert not detector.trained
    for method in ("clip", "coop"):
        assert 0 <= create_model("offline-text", method=method, image_size=56)(images).score.item() <= 1
