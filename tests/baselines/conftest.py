from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import anomalyclip_med.backbones  # noqa: F401 - before the tests import open_clip, which may need its torchvision shim

from ..networks.conftest import openai_state


@pytest.fixture(scope="session")
def state() -> dict[str, torch.Tensor]:
    """A tiny CLIP: 6 vision blocks, 14 px patches, 56 px images."""
    return openai_state(128, 6, 14, 4, 128, 4, 64, seed=7)


@pytest.fixture(scope="session")
def clip_file(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """Three images of 70 px: other than the tower's own size, so that its positions are resized."""
    return torch.randn(3, 3, 70, 70, generator=torch.Generator().manual_seed(3))
