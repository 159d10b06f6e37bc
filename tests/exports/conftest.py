from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anomalyclip_med import create_model
from anomalyclip_med.exports import export_detector
from anomalyclip_med.networks import AnomalyCLIP

from ..networks.conftest import openai_state, small_prompts, small_prompts_file  # noqa: F401 - fixtures

SIZE = 56


def rgb(count: int, size: int = SIZE) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count))


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three blocks: exporters take a second for each."""
    path = tmp_path_factory.mktemp("small_clip") / "small.safetensors"
    save_file(openai_state(128, 3, 14, 4, 128, 4, 64, seed=7), path)
    return path


@pytest.fixture(scope="session")
def detector(small_clip: Path, small_prompts_file: Path) -> AnomalyCLIP:  # noqa: F811
    """With settings that are all but the defaults."""
    return create_model(
        small_clip,
        small_prompts_file,
        SIZE,
        (2, 3),
        dpam_layers=(2, 2),
        dpam="kk",
        sigma=2.0,
        score="both",
        top_fraction=0.2,
        neighbourhood=(1, 3),
    )


@pytest.fixture(scope="session")
def compact_file(detector: AnomalyCLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_detector(detector, tmp_path_factory.mktemp("compact") / "detector.safetensors")


@pytest.fixture(scope="session")
def onnx_file(detector: AnomalyCLIP, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript")
    return export_detector(detector, tmp_path_factory.mktemp("onnx") / "detector.onnx")
