"""Prompt files: the authors' format, ours, and everything that must be refused."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from anomalyclip_med import create_model, weights
from anomalyclip_med.errors import WeightsError
from anomalyclip_med.networks import PromptConfig, load_prompts, read_prompts, save_prompts

from .conftest import prompt_state


@pytest.fixture
def detector(small_clip: Path, small_prompts_file: Path):
    return create_model(small_clip, small_prompts_file, 56, (6,), dpam_layers=4)


def test_official_checkpoint_gives_its_tensors_and_shape(small_prompts, small_prompts_file) -> None:
    read = read_prompts(small_prompts_file)
    assert read.tensors.keys() == small_prompts.keys()
    assert all(torch.equal(read.tensors[k], small_prompts[k]) for k in small_prompts)
    assert (read.config.context_length, read.config.deep_depth, read.config.deep_length) == (5, 3, 2)
    assert read.config.words == ("object.", "damaged object.")
    assert read.backbone_sha256 is None


def test_a_checkpoint_without_its_clip_is_a_recorded_warning(detector) -> None:
    assert any(w.startswith("prompts-backbone-unrecorded: epoch_15.pth") for w in detector.warnings)
    assert detector.trained


def test_round_trip(detector, small_clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    save_prompts(detector, path)
    again = create_model(small_clip, path, 56, (6,), dpam_layers=4)
    assert torch.equal(again.text_features, detector.text_features)
    assert again.prompt_learner.config == detector.prompt_learner.config
    assert not any("unrecorded" in w for w in again.warnings)
    with safe_open(path, "pt") as file:
        assert file.metadata()["backbone_sha256"] == detector.backbone_sha256


def test_prompts_saved_as_they_start_stay_untrained(small_clip: Path, tmp_path: Path) -> None:
    config = PromptConfig(deep_depth=2)
    start = create_model(small_clip, None, 56, (6,), dpam_layers=4, prompt_config=config)
    assert not start.trained
    save_prompts(start, tmp_path / "start.safetensors")
    assert not create_model(small_clip, tmp_path / "start.safetensors", 56, (6,), dpam_layers=4).trained


def test_registered_prompts_on_another_clip_are_a_warning_with_both_hashes(
    small_clip: Path, small_prompts_file: Path, monkeypatch
) -> None:
    """The published hash is of one file format; the same weights in another must not be refused."""
    published = weights.list_weights()[0]
    known = replace(published, blob_id=weights.git_blob_id(small_prompts_file))
    monkeypatch.setattr(weights, "_REGISTRY", {known.name: known})
    detector = create_model(small_clip, small_prompts_file, 56, (6,), dpam_layers=4)
    (warning,) = [w for w in detector.warnings if w.startswith("prompts-backbone-unverified")]
    assert published.backbone_sha256 in warning
    assert detector.backbone_sha256 in warning
    assert detector.trained


@pytest.mark.parametrize(
    "config",
    [
        {"normal": 5},
        {"abnormal": "x" * 1000},
        {"context_length": 0},
        {"nonsense": 1},
        "text",
        {"class_name": None},
        {"object_aware": "yes"},
    ],
)
def test_hostile_configurations_are_refused(small_prompts, tmp_path: Path, config: object) -> None:
    save_file(small_prompts, tmp_path / "bad.safetensors", {"config": json.dumps(config)})
    with pytest.raises(WeightsError, match=r"bad\.safetensors: its recorded prompt configuration is unreadable"):
        read_prompts(tmp_path / "bad.safetensors")


def test_words_are_never_a_format(small_prompts, tmp_path: Path) -> None:
    hostile = {"normal": "{:800000000}", "abnormal": "{0.__class__} {}"}
    save_file(small_prompts, tmp_path / "odd.safetensors", {"config": json.dumps(hostile)})
    assert read_prompts(tmp_path / "odd.safetensors").config.words == ("{:800000000}.", "{0.__class__} object.")


def test_the_words_travel_with_our_file(small_clip: Path, tmp_path: Path) -> None:
    config = PromptConfig(context_length=3, deep_depth=2, class_name="skin", abnormal="diseased {}")
    saved = create_model(small_clip, None, 56, (6,), dpam_layers=4, prompt_config=config)
    save_prompts(saved, tmp_path / "skin.safetensors")
    assert read_prompts(tmp_path / "skin.safetensors").config == config


def test_prompts_of_another_clip_are_refused_with_both_names_and_hashes(detector, tmp_path: Path) -> None:
    save_prompts(detector, tmp_path / "ours.safetensors")
    other = create_model("untrained", image_size=70)
    with pytest.raises(WeightsError) as error:
        load_prompts(other, read_prompts(tmp_path / "ours.safetensors"))
    for part in (detector.backbone_name, detector.backbone_sha256, other.backbone_name, other.backbone_sha256):
        assert part in str(error.value)


def test_the_settings_travel_with_our_file(small_clip: Path, tmp_path: Path) -> None:
    settings = {
        "image_size": 70,
        "feature_layers": [3, 5],
        "dpam": "kk",
        "dpam_layers": [2, 5],
        "sigma": 1.5,
        "score": "both",
        "top_fraction": 0.25,
        "neighbourhood": [1, 3],
    }
    config = PromptConfig(context_length=3, deep_depth=2)
    save_prompts(create_model(small_clip, **settings, prompt_config=config), tmp_path / "ours.safetensors")
    assert create_model(small_clip, tmp_path / "ours.safetensors").settings() == settings
    changed = create_model(small_clip, tmp_path / "ours.safetensors", image_size=84, dpam="off").settings()
    assert changed == settings | {"image_size": 84, "dpam": "off", "dpam_layers": None}


@pytest.mark.parametrize("settings", ["text", {"nonsense": 1}, {"image_size": "56"}, {"feature_layers": 3}, "{"])
def test_hostile_settings_are_refused(small_prompts, tmp_path: Path, settings: object) -> None:
    text = settings if settings == "{" else json.dumps(settings)
    save_file(small_prompts, tmp_path / "bad.safetensors", {"settings": text})
    with pytest.raises(WeightsError, match=r"bad\.safetensors: its recorded settings of the detector are unreadable"):
        read_prompts(tmp_path / "bad.safetensors")


def test_prompts_of_another_width_are_refused(small_clip: Path, tmp_path: Path) -> None:
    save_file(prompt_state(96, 5, 3, 2, seed=1), tmp_path / "narrow.safetensors")
    with pytest.raises(WeightsError, match=r"has shape \(2, 96\).*need \(2, 128\)"):
        create_model(small_clip, tmp_path / "narrow.safetensors", 56, (6,), dpam_layers=4)


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ctx_pos": None}, "ctx_pos missing"),
        ({"visual.proj": torch.zeros(2)}, "unexpected visual.proj"),
        ({"ctx_pos": torch.full((1, 1, 5, 128), float("nan"))}, "not a tensor of finite numbers"),
        ({"ctx_pos": torch.zeros(1, 1, 4, 128)}, "must both have the shape"),
        ({"ctx_pos": 5}, "not a tensor of finite numbers"),
        ({"compound_prompts_text.0": torch.tensor(1.0)}, "has the shape"),
    ],
)
def test_wrong_contents_are_refused(small_prompts, tmp_path: Path, change: dict, message: str) -> None:
    state = {k: v for k, v in {**small_prompts, **change}.items() if v is not None}
    with pytest.raises(WeightsError, match=message):
        read_prompts(written(tmp_path / "bad.pth", {"prompt_learner": state}))


def test_unsafe_and_damaged_files_are_refused(small_prompts_file: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"code\.pth: not read as weights.*no tensor"):
        read_prompts(written(tmp_path / "code.pth", {"prompt_learner": Evil()}))
    (tmp_path / "legacy.pth").write_bytes(pickle.dumps({"prompt_learner": Evil()}))
    with pytest.raises(WeightsError, match=r"legacy\.pth"):
        read_prompts(tmp_path / "legacy.pth")
    assert not (tmp_path / "pwned").exists()

    whole = small_prompts_file.read_bytes()
    for name in ("cut.pth", "cut.safetensors"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match=name):
            read_prompts(tmp_path / name)
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><title>Not found</title>")
    with pytest.raises(WeightsError, match=r"page\.pth"):
        read_prompts(tmp_path / "page.pth")
    with pytest.raises(WeightsError, match="no such file"):
        read_prompts(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match=r"clip\.pth: not a prompt checkpoint: unexpected visual\.proj"):
        read_prompts(written(tmp_path / "clip.pth", {"visual.proj": torch.zeros(2)}))
