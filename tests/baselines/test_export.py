"""Baselines as TorchScript, for batches of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyclip_med import create_model
from anomalyclip_med.networks import SingleTensorDetector


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("method", ["clip", "winclip", "vand"])
def test_torchscript_gives_the_same(clip_file: Path, images, method: str) -> None:
    network = SingleTensorDetector(create_model(clip_file, method=method, image_size=70, class_name="skin"))
    exported = torch.jit.script(network)(images)
    torch.testing.assert_close(exported, network(images), rtol=0, atol=1e-6)
    assert not exported.requires_grad
