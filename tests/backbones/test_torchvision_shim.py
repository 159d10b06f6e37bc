"""torchvision becomes importable where it is not, and is left alone where it is."""

import importlib
import subprocess
import sys
import types

import pytest
import torch

from anomalyclip_med.backbones import torchvision_shim


def test_open_clip_is_importable():
    assert importlib.import_module("open_clip").CLIP


def test_a_working_torchvision_is_left_alone():
    """By now it can be imported, as on a machine whose torchvision fits: nothing more is declared."""
    assert torchvision_shim._import_torchvision() is None


def test_other_failures_are_not_hidden(monkeypatch):
    def fail(_):
        raise RuntimeError("another trouble")

    monkeypatch.setattr(torchvision_shim, "importlib", types.SimpleNamespace(import_module=fail))
    with pytest.raises(RuntimeError, match="another trouble"):
        torchvision_shim._import_torchvision()


@pytest.mark.skipif(torchvision_shim._DECLARATIONS is None, reason="this torchvision has its operators")
def test_declared_operators_still_fail_when_called():
    with pytest.raises(NotImplementedError):
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["baselines", "networks", "losses", "studies.run"])
def test_a_package_can_be_imported_alone(package: str) -> None:
    """Whichever comes first has to bring the declarations before it asks for open_clip."""
    subprocess.run([sys.executable, "-c", f"import anomalyclip_med.{package}"], check=True)
