"""Products in fewer bits: against the same arithmetic written out, and what they may and may not change."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from anomalyclip_med import create_model
from anomalyclip_med.backbones import Precision
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks import Detector, PromptConfig, SingleTensorDetector, save_prompts


def build(clip: Path, method: str = "anomalyclip", **options) -> Detector:
    if method == "anomalyclip":
        options = {"prompt_config": PromptConfig(deep_depth=3), **options}
    return create_model(clip, method=method, image_size=56, **options)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(3))


def rounded_product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """One image's tokens (N, I) in 8 bits between their extremes, weights in 8 bits per row; in float64."""
    x, weight, bias = x.double(), weight.double(), bias.double()
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    step = (high - low) / 255
    zero = round(-low / step)
    tokens = ((x / step).round() + zero).clamp(0, 255) - zero
    rows = weight.abs().amax(dim=1, keepdim=True) / 127
    return tokens * step @ ((weight / rows).round() * rows).T + bias


@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_every_large_product_of_a_block_is_the_rounded_one(small_clip: Path, name: str) -> None:
    exact, reduced = (build(small_clip, precision=p).vision.visual.transformer.resblocks for p in ("float32", name))
    generator = torch.Generator().manual_seed(0)
    products = 0
    for block, other in zip(exact, reduced, strict=True):
        attention = block.attn
        for weight, bias, module in (
            (attention.in_proj_weight, attention.in_proj_bias, other.attn.in_proj),
            (attention.out_proj.weight, attention.out_proj.bias, other.attn.out_proj),
            (block.mlp.c_fc.weight, block.mlp.c_fc.bias, other.mlp.c_fc),
            (block.mlp.c_proj.weight, block.mlp.c_proj.bias, other.mlp.c_proj),
        ):
            x = torch.randn(2, 5, weight.shape[1], generator=generator) * torch.tensor([1.0, 7.0])[:, None, None]
            if name == "int8":
                expected = torch.stack([rounded_product(image, weight, bias) for image in x]).float()
                off = (module(x) - expected).abs()
                # A value half-way between two steps may fall to either side; it then moves one row of the output.
                assert (off < 1e-4).float().mean() > 0.75
                assert off.max() < 1.01 * (x.amax() - x.amin()) / 255 * weight.abs().max()
            else:
                values = (t.bfloat16().double() for t in (x, weight, bias))
                expected = F.linear(*values).float()
                assert module(x).dtype == torch.bfloat16
                torch.testing.assert_close(module(x).float(), expected, rtol=2**-8, atol=1e-5)
            products += 1
        assert not any(isinstance(m, nn.Linear | nn.MultiheadAttention) for m in other.modules())
    assert products == 4 * len(exact)


@pytest.mark.parametrize(
    ("method", "name", "most"),
    [("anomalyclip", "bfloat16", 0.02), ("anomalyclip", "int8", 0.1), ("vand", "int8", 0.1), ("winclip", "int8", 0.1)],
)
def test_it_changes_a_little_of_scores_and_maps_and_nothing_of_the_texts(
    small_clip: Path, images, method: str, name: str, most: float
) -> None:
    exact, reduced = build(small_clip, method), build(small_clip, method, precision=name)
    out, expected = reduced(images), exact(images)
    assert 1e-6 < (out.anomaly_map - expected.anomaly_map).abs().max() < most
    assert (out.score - expected.score).abs().max() < most
    assert out.score.dtype == out.anomaly_map.dtype == torch.float32
    assert all(values.dtype == torch.float32 for values in reduced.encode_image(images).values())
    torch.testing.assert_close(reduced.text_features, exact.text_features, rtol=0, atol=0)


def test_with_8_bits_an_image_does_not_depend_on_its_neighbours(small_clip: Path, images) -> None:
    """One of them is ten times as bright: on a common scale the others would lose their last bits."""
    images[1] *= 10
    detector = build(small_clip, precision="int8")
    out = detector(images)
    for row, image in enumerate(images):
        torch.testing.assert_close(detector(image[None]).anomaly_map[0], out.anomaly_map[row], rtol=0, atol=1e-5)


def test_8_bits_survive_a_copy_and_refuse_an_export(small_clip: Path, images) -> None:
    detector = build(small_clip, precision="int8")
    torch.testing.assert_close(copy.deepcopy(detector)(images), detector(images), rtol=0, atol=0)
    with pytest.raises(ConfigurationError, match="no export can hold"):
        torch.jit.trace(SingleTensorDetector(detector), images)


def test_prompts_do_not_depend_on_it_features_do(small_clip: Path, tmp_path: Path) -> None:
    exact, reduced = build(small_clip), build(small_clip, precision="int8")
    assert exact.settings() == reduced.settings()
    assert (exact.describe()["precision"], reduced.describe()["precision"]) == ("float32", "int8")
    differing = {name for name, value in exact.image_side().items() if reduced.image_side()[name] != value}
    assert differing == {"precision"}
    for written, read in (("float32", "int8"), ("bfloat16", "float32")):
        learned = build(small_clip, precision=written, seed=5)
        save_prompts(learned, tmp_path / "prompts.safetensors")
        detector = create_model(small_clip, tmp_path / "prompts.safetensors", precision=read)
        assert detector.precision == read
        torch.testing.assert_close(detector.text_features, learned.text_features)


def test_what_a_device_cannot_compute_is_an_error_that_says_what_to_choose(small_clip: Path, images) -> None:
    with pytest.raises(ConfigurationError, match=r"float16 is for GPUs, the device is cpu: choose bfloat16 or int8"):
        build(small_clip, precision="float16")(images)
    with pytest.raises(ConfigurationError, match=r"int8 is for CPUs, the device is cuda:1: choose bfloat16 or float16"):
        Precision.INT8.check_device(torch.device("cuda:1"))
    for name in ("float32", "bfloat16", "float16"):
        Precision(name).check_device(torch.device("cuda:0"))
    with pytest.raises(ConfigurationError, match=r"precision='half' is unknown: choose one of float32, bfloat16"):
        build(small_clip, precision="half")
