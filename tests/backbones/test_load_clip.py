"""One set of weights in every format gives one set of features; everything else is refused by name."""

import hashlib
import json
import urllib.error

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from anomalyclip_med import create_model
from anomalyclip_med.backbones import Activation, clip, load_clip
from anomalyclip_med.backbones.architecture import Architecture
from anomalyclip_med.errors import WeightsError
from anomalyclip_med.networks import PromptConfig

MARKERS = {"input_resolution": 70, "context_length": 77, "vocab_size": 49408}
CONFIG = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 70, "layers": 3, "width": 128, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


def features(backbone, sample):
    return backbone.clip.encode_image(sample.image), backbone.clip.encode_text(sample.text)


def assert_same(backbone, sample):
    for ours, expected in zip(features(backbone, sample), sample.features, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def write_config(folder, preprocess=None, **changes):
    config = {"model_cfg": {**CONFIG, **changes}, "preprocess_cfg": preprocess or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def half(state):
    return {key: value.half() for key, value in state.items()}


def archive_of(sample, path, how):
    if how == "script":
        module = torch.jit.script(sample.module)
    else:
        module = torch.jit.trace(sample.module, (sample.image, sample.text))
    torch.jit.save(module, path)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_archive(sample, tmp_path, how):
    path = archive_of(sample, tmp_path / "clip.pt", how)
    backbone = load_clip(path)
    assert_same(backbone, sample)
    assert backbone.warnings == ()
    assert (backbone.name, backbone.trained) == ("clip.pt", True)
    assert backbone.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not backbone.clip.training
    for parameter in backbone.clip.parameters():
        assert parameter.dtype == torch.float32
        assert not parameter.requires_grad


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_archive_in_half_precision(sample, tmp_path, how):
    path = tmp_path / "clip.pt"
    module = type(sample.module)()
    module.load_state_dict(sample.state)
    module = module.eval().half()
    for block in module.transformer.resblocks:
        block.attn_mask = block.attn_mask.half()
    if how == "script":
        torch.jit.save(torch.jit.script(module), path)
    else:
        torch.jit.save(torch.jit.trace(module, (sample.image.half(), sample.text)), path)
    assert_same(load_clip(path), sample)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript_archive_with_gelu(gelu_sample, tmp_path, how):
    path = archive_of(gelu_sample, tmp_path / "clip.pt", how)
    assert_same(load_clip(path), gelu_sample)
    with pytest.raises(WeightsError, match=r"argument activation says quick_gelu.*program in the file says gelu"):
        load_clip(path, activation=Activation.QUICK_GELU)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_openai_state_dict(sample, tmp_path, dtype, suffix):
    state = {key: value.to(dtype) for key, value in sample.state.items()}
    state |= {key: torch.tensor(value) for key, value in MARKERS.items()}
    path = tmp_path / f"clip{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    backbone = load_clip(str(path))
    assert_same(backbone, sample)
    assert backbone.warnings == ()
    assert backbone.image_mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_a_file_in_the_home_folder(sample, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(half(sample.state), tmp_path / "weights_without_suffix")
    assert_same(load_clip("~/weights_without_suffix"), sample)


def test_old_pickle(sample, tmp_path):
    torch.save(half(sample.state), tmp_path / "clip.pt", _use_new_zipfile_serialization=False)
    assert_same(load_clip(tmp_path / "clip.pt"), sample)


@pytest.mark.filterwarnings("ignore")
def test_every_format_gives_the_same_maps(sample, tmp_path):
    files = [archive_of(sample, tmp_path / "archive.pt", "script"), tmp_path / "half.pt", tmp_path / "oc.safetensors"]
    torch.save(half(sample.state), files[1])
    save_file(sample.state, files[2])
    config = PromptConfig(deep_depth=2)
    images = torch.randn(2, 3, 98, 98, generator=torch.Generator().manual_seed(0))
    outputs = [
        create_model(f, image_size=98, feature_layers=(1, 3), dpam_layers=2, prompt_config=config)(images)
        for f in files
    ]
    for other in outputs[1:]:
        torch.testing.assert_close(other.anomaly_map, outputs[0].anomaly_map, rtol=0, atol=1e-5)
        torch.testing.assert_close(other.score, outputs[0].score, rtol=0, atol=1e-5)
    assert outputs[0].anomaly_map.std() > 1e-3


@pytest.mark.parametrize("prefix", ["", "module."])
def test_open_clip_checkpoint(sample, tmp_path, prefix):
    state = {prefix + key: torch.nn.Parameter(value) for key, value in sample.state.items()}
    checkpoint = {"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"state": {}, "groups": [0.1]}}
    torch.save(checkpoint, tmp_path / "epoch_3.pt")
    backbone = load_clip(tmp_path / "epoch_3.pt", activation="quick_gelu")
    assert_same(backbone, sample)
    assert backbone.warnings == ()


def test_open_clip_safetensors_with_config(sample, tmp_path):
    state = {**half(sample.state), "logit_bias": torch.tensor(-10.0)}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    write_config(tmp_path, preprocess={"mean": [0.5, 0.5, 0.5], "std": [0.1, 0.2, 0.3]})
    backbone = load_clip(tmp_path / "open_clip_model.safetensors")
    assert_same(backbone, sample)
    assert backbone.warnings == ()
    assert backbone.image_mean == (0.5, 0.5, 0.5)
    assert backbone.image_std == (0.1, 0.2, 0.3)


def test_custom_text_layout(sample, tmp_path):
    towers = ("visual.", "logit_scale")
    state = {key if key.startswith(towers) else f"text.{key}": value for key, value in sample.state.items()}
    save_file({**state, "text.attn_mask": torch.zeros(77, 77)}, tmp_path / "clip.safetensors")
    assert_same(load_clip(tmp_path / "clip.safetensors", activation="quick_gelu"), sample)


def test_genuine_openai_file(monkeypatch, sample, tmp_path):
    """A file with one of OpenAI's hashes needs no other evidence, and its extra tensors are no weights."""
    path = tmp_path / "renamed.pt"
    torch.save({**sample.state, "visual.extra": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"unexpected: visual\.extra"):
        load_clip(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(clip, "_openai_sha256", lambda: {"ViT-L-14-336px.pt": sha256})
    backbone = load_clip(path)
    assert_same(backbone, sample)
    assert backbone.warnings == ()
    with pytest.raises(WeightsError, match=r"argument activation says gelu.*OpenAI's SHA-256 says quick_gelu"):
        load_clip(path, activation="gelu")


def test_open_clips_own_model_agrees(sample, tmp_path):
    save_file(sample.state, tmp_path / "clip.safetensors")
    backbone = load_clip(tmp_path / "clip.safetensors", activation="quick_gelu")
    model = open_clip.model.build_model_from_openai_state_dict(sample.state, cast_dtype=None).float()
    for ours, theirs in zip(
        features(backbone, sample),
        (model.encode_image(sample.image), model.encode_text(sample.text)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_golden(golden, golden_clip):
    expected = np.load(golden / "clip_tiny" / "expected.npz")
    backbone = load_clip(golden_clip)
    model = backbone.clip
    assert (len(model.visual.transformer.resblocks), len(model.transformer.resblocks)) == (24, 12)
    assert backbone.warnings[0].startswith("activation-assumed: ")
    # The reference takes the class token before ln_post, and resizes the position grid bilinearly.
    visual = model.visual
    images = torch.from_numpy(expected["images"]).float()
    x = visual.conv1(images)
    size = x.shape[-2:]
    grid = visual.positional_embedding[1:].T.reshape(1, -1, 5, 5)
    grid = torch.nn.functional.interpolate(grid, size, mode="bilinear", align_corners=False)
    positions = torch.cat([visual.positional_embedding[:1], grid.flatten(2)[0].T])
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + positions
    x = visual.transformer(visual.ln_pre(x))
    found = torch.nn.functional.normalize(x[:, 0] @ visual.proj, dim=-1)
    torch.testing.assert_close(found, torch.from_numpy(expected["image_features"]).float(), rtol=1e-4, atol=1e-4)


# The activation


def test_unknown_activation_is_assumed_and_said(sample, gelu_sample, tmp_path):
    save_file(sample.state, tmp_path / "clip.safetensors")
    backbone = load_clip(tmp_path / "clip.safetensors")
    assert_same(backbone, sample)
    assert backbone.warnings[0].startswith("activation-assumed: ")
    assert_same(load_clip(tmp_path / "clip.safetensors", activation="gelu"), gelu_sample)


def test_metadata_decides(gelu_sample, tmp_path):
    save_file(gelu_sample.state, tmp_path / "clip.safetensors", metadata={"activation": "gelu"})
    backbone = load_clip(tmp_path / "clip.safetensors")
    assert_same(backbone, gelu_sample)
    assert backbone.warnings == ()


def test_config_decides(gelu_sample, tmp_path):
    save_file(gelu_sample.state, tmp_path / "clip.safetensors")
    write_config(tmp_path, quick_gelu=False)
    assert_same(load_clip(tmp_path / "clip.safetensors"), gelu_sample)
    with pytest.raises(WeightsError, match=r"argument activation says quick_gelu.*open_clip_config.json says gelu"):
        load_clip(tmp_path / "clip.safetensors", activation="quick_gelu")


def test_activation_against_openais_format(sample, tmp_path):
    torch.save({**sample.state, "vocab_size": torch.tensor(49408)}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match=r"argument activation says gelu.*OpenAI's format says quick_gelu"):
        load_clip(tmp_path / "clip.pt", activation="gelu")


@pytest.mark.parametrize("where", ["argument", "metadata"])
def test_unknown_activation_name(sample, tmp_path, where):
    path = tmp_path / "clip.safetensors"
    save_file(sample.state, path, metadata={"activation": "relu"} if where == "metadata" else None)
    with pytest.raises(WeightsError, match=r"'relu'.*quick_gelu, gelu"):
        load_clip(path, activation="relu" if where == "argument" else None)


# Files that are not the weights of a CLIP


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>Not found</html>", "a web page"),
        (b"\n <html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"),
        (b"PK\x03\x04 and no more", "damaged or truncated PyTorch file"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "damaged or truncated safetensors"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "damaged or truncated safetensors"),
        (b"just text", "not a weights file"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_not_weights(tmp_path, content, message, suffix):
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load_clip(path)
    assert str(path) in str(caught.value)


def test_folder_and_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="a folder"):
        load_clip(tmp_path)
    with pytest.raises(WeightsError, match="no such file"):
        load_clip(str(tmp_path / "clip.pt"))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated(sample, tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(sample.state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="truncated"):
        load_clip(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.ln_post.weight": None}, "missing: visual.ln_post.weight"),
        ({"visual.conv1.weight": None}, "no tensor 'visual.conv1.weight'"),
        ({"extra.weight": torch.zeros(1)}, "unexpected: extra.weight"),
        ({"visual.proj": torch.zeros(64, 32)}, r"visual.proj \(64, 32\) instead of \(128, 32\)"),
        ({"visual.proj": torch.zeros(128)}, "'visual.proj' has the shape"),
        ({"visual.proj": torch.zeros(128, 32, dtype=torch.int8)}, "visual.proj torch.int8"),
        ({"visual.proj": torch.full((128, 32), float("nan"))}, "'visual.proj' holds NaN"),
        ({"ln_final.bias": torch.full((64,), float("inf"))}, "'ln_final.bias' holds NaN or infinite"),
        ({"visual.positional_embedding": torch.zeros(25, 128)}, "25 image positions are no square"),
        ({"positional_embedding": torch.zeros(5000, 64)}, "5000 text positions"),
        ({"token_embedding.weight": torch.zeros(10, 60)}, "text width 60"),
        ({"visual.layer1.0.conv1.weight": torch.zeros(1)}, "a ResNet CLIP"),
    ],
)
def test_not_a_clip_vit(sample, tmp_path, change, message):
    state = {key: value for key, value in {**sample.state, **change}.items() if value is not None}
    save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_clip(tmp_path / "clip.safetensors", activation="quick_gelu")


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, [torch.zeros(3)], torch.zeros(3)], ids=str)
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match="state dict"):
        load_clip(tmp_path / "clip.pt")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("no json", "not an open_clip configuration"),
        ("{}", "not an open_clip configuration"),
        ('{"model_cfg": {"embed_dim": 1}}', "not an open_clip model configuration"),
        (
            json.dumps({"model_cfg": {**CONFIG, "vision_cfg": {"timm_model_name": "vit"}}}),
            "options timm_model_name",
        ),
        (
            json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [1, 2]}}),
            "three numbers are needed",
        ),
        (json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0, 0, float("nan")]}}), "three numbers"),
        (json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"std": [1, 0, 1]}}), "must be above 0"),
        (json.dumps({"model_cfg": CONFIG, "preprocess_cfg": [1]}), "preprocess_cfg is no object"),
        (json.dumps({"model_cfg": {**CONFIG, "embed_dim": "wide"}}), "embed_dim is 'wide'"),
        (
            json.dumps({"model_cfg": {**CONFIG, "text_cfg": {"layers": 10**9}}}),
            "layers is 1000000000",
        ),
        (
            json.dumps({"model_cfg": {**CONFIG, "text_cfg": {"width": 64, "heads": 5}}}),
            "heads do not divide",
        ),
        (
            json.dumps({"model_cfg": {**CONFIG, "embed_dim": 48}}),
            r"wrong shape: text_projection|wrong shape: visual.proj",
        ),
    ],
)
def test_bad_config(sample, tmp_path, config, message):
    save_file(sample.state, tmp_path / "clip.safetensors")
    (tmp_path / "open_clip_config.json").write_text(config)
    with pytest.raises(WeightsError, match=message):
        load_clip(tmp_path / "clip.safetensors")


def test_openais_file_name_promises_openais_file(sample, tmp_path):
    path = tmp_path / "ViT-L-14-336px.pt"
    torch.save(sample.state, path)
    with pytest.raises(WeightsError) as caught:
        load_clip(path)
    assert "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02" in str(caught.value)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in str(caught.value)


# Names


def test_no_network(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        load_clip("ViT-L-14-336/openai")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "https://openaipublic.azureedge.net/clip/models/3035c92b",
        str(tmp_path / ".cache" / "clip" / "ViT-L-14-336px.pt"),
        "clip=/path/to/ViT-L-14-336px.pt",
        "no route to host",
    ):
        assert part in message


def test_named_openai_model_must_be_openais(monkeypatch, sample, tmp_path):
    path = tmp_path / "ViT-L-14-336px.pt"
    torch.save(sample.state, path)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_, **__: str(path))
    with pytest.raises(WeightsError, match="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"):
        load_clip("ViT-L-14-336/openai")


def test_named_model(monkeypatch, sample, tmp_path):
    path = tmp_path / "open_clip_model.safetensors"
    save_file(sample.state, path)
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: {**CONFIG, "quick_gelu": False})
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_, **__: str(path))
    backbone = load_clip("ViT-B-16/metaclip_400m")  # open_clip's entry for the tag says QuickGELU
    assert_same(backbone, sample)
    assert (backbone.name, backbone.warnings) == ("ViT-B-16/metaclip_400m", ())


def test_activation_against_a_name(monkeypatch):
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_, **__: pytest.fail("downloaded in vain"))
    with pytest.raises(WeightsError, match=r"argument activation says gelu.*ViT-L-14-336/openai says quick_gelu"):
        load_clip("ViT-L-14-336/openai", activation="gelu")


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("ViT-L-14-336/opnai", "ViT-L-14-336/openai"),
        ("ViT-L/14@336px/openai", "ViT-L-14-336/openai"),
        ("ViT-L-14-336", "ViT-L-14-336/openai"),
        ("untraind", "untrained"),
    ],
)
def test_near_names(source, near):
    with pytest.raises(WeightsError, match=f"near are .*{near}"):
        load_clip(source)


@pytest.mark.parametrize(
    ("name", "heads"),
    [("ViT-L-14-336", (64, 12)), ("ViT-B-16-plus-240", (64, 10)), ("ViT-H-14", (80, 16))],
)
def test_configurations_of_open_clip(name, heads):
    sizes = Architecture.from_config(open_clip.get_model_config(name), name)
    assert (sizes.vision.head_width, sizes.text.heads) == heads


@pytest.mark.parametrize("source", ["RN50/openai", "ViT-B-16-SigLIP/webli", "coca_ViT-B-32/laion2b_s13b_b90k"])
def test_only_plain_vits(source):
    with pytest.raises(WeightsError, match="only ViT CLIPs"):
        load_clip(source)


# Untrained


def test_untrained():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    backbone = load_clip()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = load_clip("untrained")
    assert (backbone.name, backbone.trained) == ("untrained", False)
    assert backbone.sha256 == again.sha256
    assert backbone.warnings[0].startswith("untrained-weights: ")
    for ours, theirs in zip(backbone.clip.parameters(), again.clip.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert not ours.requires_grad
    model = backbone.clip
    assert (len(model.visual.transformer.resblocks), len(model.transformer.resblocks)) == (24, 12)
    assert model.visual.image_size == (70, 70)
    images = torch.randn(4, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    text = open_clip.tokenize(["an object.", "a damaged object.", "a brain", "a lung"])
    for found in (model.encode_image(images), model.encode_text(text)):
        assert found.shape == (4, 96)
        assert 0.1 < found.std() < 10
        similarity = torch.nn.functional.cosine_similarity(found[:, None], found[None], dim=-1)
        assert similarity.triu(1).abs().max() < 0.95


def test_golden_file_is_what_it_was(golden_clip):
    """The file's tensors arrive unchanged."""
    expected = load_file(golden_clip)
    found = load_clip(golden_clip).clip.state_dict()
    assert found.keys() == expected.keys()
    for key, value in found.items():
        assert torch.equal(value, expected[key].float())
