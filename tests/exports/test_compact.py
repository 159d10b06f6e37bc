"""The compact file: the same detector without its text tower, mapped and not copied; what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from anomalyclip_med import create_model
from anomalyclip_med.backbones import load_clip
from anomalyclip_med.errors import ConfigurationError, WeightsError
from anomalyclip_med.exports import export_detector, load_detector
from anomalyclip_med.exports.record import KEY
from anomalyclip_med.exports.seal import EMPTY, seal
from anomalyclip_med.inferers.calibration import comparable
from anomalyclip_med.networks import AnomalyCLIP, save_prompts

from ..backbones.test_dinov2 import hugging_face_state
from .conftest import SIZE, rgb


def assert_same(one: AnomalyCLIP, other: AnomalyCLIP) -> None:
    for count in (1, 3):
        expected, found = one(rgb(count)), other(rgb(count))
        assert torch.equal(found.score, expected.score)
        assert torch.equal(found.anomaly_map, expected.anomaly_map)


def test_equals_the_full_detector_bit_for_bit(detector: AnomalyCLIP, compact_file: Path) -> None:
    loaded = load_detector(compact_file)
    assert_same(detector, loaded)
    assert (loaded.image_mean, loaded.image_std) == (detector.image_mean, detector.image_std)
    assert loaded.warnings == detector.warnings
    assert loaded.trained


def test_tells_what_it_is_made_of(detector: AnomalyCLIP, compact_file: Path, small_prompts_file: Path) -> None:
    told = load_detector(compact_file).describe()
    sha256 = hashlib.sha256(compact_file.read_bytes()).hexdigest()
    assert told == {**detector.describe(), "file": "detector.safetensors", "file_sha256": sha256}
    assert told["prompts_sha256"] == hashlib.sha256(small_prompts_file.read_bytes()).hexdigest()
    assert len(told["clip_sha256"]) == 64
    assert comparable(told, {}) == comparable(detector.describe(), {})  # calibrations hold for both


def test_a_loaded_detector_is_exported_as_the_same_file(compact_file: Path, tmp_path: Path) -> None:
    again = export_detector(load_detector(compact_file), tmp_path / "again.safetensors")
    assert again.read_bytes() == compact_file.read_bytes()


def test_holds_the_vision_tower_and_two_features_only(detector: AnomalyCLIP, compact_file: Path) -> None:
    visual = detector.vision.visual.state_dict()
    held = load_file(compact_file)
    assert held.keys() == {"states", "sha256", *(f"visual.{name}" for name in visual)}
    assert all(torch.equal(held[f"visual.{name}"], tensor) for name, tensor in visual.items())
    assert torch.equal(held["states"], detector.text_features)
    numbers = sum(p.numel() for p in load_detector(compact_file).parameters())
    assert numbers == sum(p.numel() for p in detector.vision.visual.parameters())


def test_a_tower_without_text_and_with_another_activation(tmp_path: Path) -> None:
    """DINOv2: layer scale, no norm before the blocks, no projection, another epsilon, learned embeddings."""
    save_file(hugging_face_state(), tmp_path / "dinov2.safetensors")
    full = create_model(tmp_path / "dinov2.safetensors", image_size=SIZE)
    loaded = load_detector(export_detector(full, tmp_path / "detector.safetensors"))
    assert_same(full, loaded)
    assert loaded.describe()["clip_activation"] == "gelu"
    assert loaded.describe()["prompt_config"] is None
    assert not loaded.trained  # as its embeddings are not


def test_several_abnormal_states_and_views(small_clip: Path, tmp_path: Path) -> None:
    words = {"abnormal": ["worn {}", "torn {}"], "context_length": 3, "deep_depth": 2}
    full = create_model(small_clip, image_size=SIZE, scales=[1.5], flip=True, prompt_config=words)
    loaded = load_detector(export_detector(full, tmp_path / "detector.safetensors"))
    assert_same(full, loaded)
    assert loaded.text_features.shape == (3, 64)


def test_nothing_more_is_learned(compact_file: Path, tmp_path: Path) -> None:
    loaded = load_detector(compact_file)
    assert loaded.losses == ()
    assert not any(p.requires_grad for p in loaded.parameters())
    save_prompts(loaded, tmp_path / "prompts.safetensors")
    with pytest.raises(WeightsError, match="unexpected states"):
        create_model("untrained", tmp_path / "prompts.safetensors")


def file_of(tensor: torch.Tensor) -> str:
    """The file that a tensor's memory is mapped from; "" for anonymous memory."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, _, rest = line.partition("-")
        if int(start, 16) <= tensor.data_ptr() < int(rest.split()[0], 16):
            return rest.split(maxsplit=5)[5] if len(rest.split()) > 5 else ""
    return ""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_weights_stay_in_the_files_pages(compact_file: Path, small_clip: Path, tmp_path: Path) -> None:
    loaded = load_detector(compact_file)
    loaded(rgb(1))
    for tensor in [*loaded.parameters(), *loaded.learned().values()]:
        assert file_of(tensor) == str(compact_file)
    clip = load_clip(small_clip)
    assert {file_of(p) for p in clip.clip.parameters()} == {str(small_clip)}
    save_file(hugging_face_state(), tmp_path / "dinov2.safetensors")
    tower = load_clip(tmp_path / "dinov2.safetensors").visual
    copied = {n for n, p in tower.named_parameters() if file_of(p) != str(tmp_path / "dinov2.safetensors")}
    # Put together of several tensors in the file.
    assert copied == {"positional_embedding"} | {n for n, _ in tower.named_parameters() if "in_proj" in n}


def test_training_does_not_write_into_the_file(compact_file: Path) -> None:
    before = compact_file.read_bytes()
    with torch.no_grad():
        for parameter in load_detector(compact_file).parameters():
            parameter.zero_()
    assert compact_file.read_bytes() == before


def changed(source: Path, path: Path, place: int) -> Path:
    content = bytearray(source.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("place", ["first weight", "record", "states", "last byte"])
def test_an_altered_file_is_refused(compact_file: Path, tmp_path: Path, place: str) -> None:
    content = compact_file.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    place = {"first weight": begin, "record": content.index(b"0.48145466") + 5, "states": -70, "last byte": -1}[place]
    with pytest.raises(WeightsError, match=r"odd\.safetensors: not as 'anomalyclip-med export' writes a detector"):
        load_detector(changed(compact_file, tmp_path / "odd.safetensors", place))


def test_a_file_of_something_else_is_refused(compact_file: Path, small_clip: Path, tmp_path: Path, detector) -> None:
    content = compact_file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html>")
    (tmp_path / "zip.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))
    save_prompts(detector, tmp_path / "prompts.safetensors")
    for path, message in {
        tmp_path / "cut.safetensors": "damaged or truncated",
        tmp_path / "empty.safetensors": "an empty file",
        tmp_path / "page.safetensors": "a web page",
        tmp_path / "zip.safetensors": "damaged",
        tmp_path / "absent.safetensors": "no such file",
        tmp_path / "prompts.safetensors": "no detector of 'anomalyclip-med export'",
        small_clip: "no detector of 'anomalyclip-med export'",
    }.items():
        with pytest.raises(WeightsError, match=f"{path.name}: .*{message}"):
            load_detector(path)
    with pytest.raises(ConfigurationError, match=r"model\.pt: a detector is loaded from \.safetensors or \.onnx"):
        load_detector("model.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 0}, "wrong heads"),
        ({"heads": 7}, "7 heads do not divide the width 128"),
        ({"epsilon": float("nan")}, "wrong numbers"),
        ({"image_std": [0, 1, 1]}, "wrong numbers"),
        ({"image_mean": [0, 1]}, "wrong numbers"),
        ({"interpolation": "nearest"}, "wrong interpolation"),
        ({"format": "anomalyclip_med.prompts"}, "of another format"),
        ({"nonsense": 1}, "unreadable"),
        ({"warnings": [1]}, "wrong text"),
        ({"model": {"image_size": "56"}}, "wrong settings"),
        ({"model": {"image_size": 57}}, "not a multiple of the patch size"),
        ({"model": {"code": 1}}, "wrong settings"),
        ({"model": {"clip_activation": "relu"}}, "relu"),
        ({"model": {"prompts_trained": "yes"}}, "wrong model"),
        ({"model": {"prompt_config": {"words": 1}}}, "unreadable"),
        ({"model": None}, "unreadable"),
    ],
)
def test_a_strangers_record_is_refused(compact_file: Path, tmp_path: Path, change: dict, message: str) -> None:
    """Sealed as ours are, so that only its contents speak against it."""
    with safe_open(compact_file, "pt") as file:
        record = json.loads(file.metadata()[KEY])
    if isinstance(model := change.get("model"), dict):
        change = {"model": {**record["model"], **model}}
    path = tmp_path / "odd.safetensors"
    save_file(load_file(compact_file), path, {KEY: json.dumps({**record, **change})})
    seal(path)
    with pytest.raises(WeightsError, match=rf"(?s)odd\.safetensors: .*{message}"):
        load_detector(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.ln_post.weight": None}, "ln_post.weight"),
        ({"visual.conv1.weight": None}, "conv1.weight"),
        ({"visual.extra": torch.zeros(3)}, "extra"),
        ({"states": None}, "states"),
        ({"states": torch.zeros(2, 63)}, r"the shape \(2, 63\)"),
        ({"visual.proj": torch.zeros(128, 64, dtype=torch.float16)}, "visual.proj is not float32"),
    ],
)
def test_a_strangers_tensors_are_refused(compact_file: Path, tmp_path: Path, change: dict, message: str) -> None:
    with safe_open(compact_file, "pt") as file:
        metadata = file.metadata()
    tensors = {n: t for n, t in {**load_file(compact_file), **change}.items() if t is not None}
    tensors["sha256"] = torch.frombuffer(bytearray(EMPTY), dtype=torch.uint8)
    save_file(tensors, tmp_path / "odd.safetensors", metadata)
    seal(tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=rf"(?s)odd\.safetensors: .*{message}"):
        load_detector(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "clip"}, "CLIP names each image's class.*only AnomalyCLIP with object-agnostic"),
        ({"method": "vand"}, "VAND names each image's class"),
        ({"prompt_config": {"object_aware": True}}, "object-aware prompts name each image's class"),
    ],
)
def test_only_texts_that_are_the_same_for_all_images_are_exported(
    small_clip: Path, tmp_path: Path, options: dict, message: str
) -> None:
    if "prompt_config" in options:
        options["prompt_config"] |= {"deep_depth": 2}
    with pytest.raises(ConfigurationError, match=message):
        export_detector(create_model(small_clip, image_size=SIZE, **options), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_normal_images_are_not_exported(small_clip: Path, tmp_path: Path) -> None:
    remembering = create_model(small_clip, image_size=SIZE, prompt_config={"deep_depth": 2})
    remembering.remember(remembering.encode_image(rgb(2)), ["0" * 64])
    with pytest.raises(ConfigurationError, match="references: no exported file holds normal images"):
        export_detector(remembering, tmp_path / "a.safetensors")


def test_a_file_is_written_whole_or_not_at_all(detector: AnomalyCLIP, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.pth: the suffix tells the kind of export"):
        export_detector(detector, tmp_path / "a.pth")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        export_detector(detector, tmp_path / "file" / "a.safetensors")
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        export_detector(detector, tmp_path / "a.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "file"]
