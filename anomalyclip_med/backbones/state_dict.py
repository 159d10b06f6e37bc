"""Weights files of every accepted kind, read into one form: OpenAI's key layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from anomalyclip_med.backbones.activation import Activation, Evidence
from anomalyclip_med.backbones.archive import TorchArchive
from anomalyclip_med.errors import WeightsError

# Sizes that OpenAI stores as tensors beside the weights: they mark its format.
_OPENAI_MARKERS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class StateDict:
    """The weights in a file.

    Attributes:
        tensors: The tensors by OpenAI's names, in the file's precision, on the CPU.
        evidence: What the file's contents say about the activation.
    """

    tensors: dict[str, Tensor]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class TensorFile:
    """What a file of tensors holds, before anybody looks for weights in it.

    Attributes:
        content: What was saved: a dictionary of tensors, or nested ones.
        metadata: Of a safetensors file.
        evidence: What a TorchScript program or the metadata say about the activation.
    """

    content: Any
    metadata: dict[str, str]
    evidence: tuple[Evidence, ...]


def read_tensor_file(path: Path) -> TensorFile:
    """Read a file of tensors without running anything in it.

    The kind is told from the contents, not from the name: safetensors, OpenAI's TorchScript archive, or what
    ``torch.save`` writes (zip or the older plain pickle).

    Args:
        path: The file.

    Raises:
        WeightsError: There is no such file, or it is not a file of tensors, is damaged, or would run code.
    """
    head = read_head(path)
    if head.startswith(b"PK\x03\x04"):
        with TorchArchive(path) as archive:
            found = archive.activation()
            return TensorFile(archive.load(), {}, (found,) if found else ())
    if head[8:9] == b"{":
        tensors, metadata = _read_safetensors(path)
        named = (_from_metadata(metadata["activation"], path),) if "activation" in metadata else ()
        return TensorFile(tensors, metadata, named)
    return TensorFile(_read_old_pickle(path), {}, ())


def read_state_dict(path: Path) -> StateDict:
    """Read the weights of a CLIP, in OpenAI's or open_clip's layout, from any file that `read_tensor_file` reads.

    Args:
        path: The file.

    Returns:
        The weights and what the file says about its activation.

    Raises:
        WeightsError: The file is missing, unsafe or damaged, or holds no state dict.
    """
    file = read_tensor_file(path)
    tensors = _openai_layout(file.content, path)
    evidence = list(file.evidence)
    markers = [tensors.pop(marker) for marker in _OPENAI_MARKERS if marker in tensors]
    if markers:
        evidence.append(Evidence(Activation.QUICK_GELU, "OpenAI's format"))
    return StateDict(tensors, tuple(evidence))


def read_head(path: Path) -> bytes:
    """The first bytes of a file that may be weights; a WeightsError for one that cannot be."""
    if path.is_dir():
        raise WeightsError(f"{path}: a folder; give the path of the weights file in it.")
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; check the path.") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}).") from error
    if not head:
        raise WeightsError(f"{path}: an empty file; download it again.")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: a Git LFS pointer, not the weights themselves; run 'git lfs pull' there or download "
            "the file from the web."
        )
    if head.lstrip().startswith(b"<"):
        raise WeightsError(
            f"{path}: a web page, not weights; the download gave an error or login page. Download it again."
        )
    return head


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path}: a damaged or truncated safetensors file ({error}); download it again.") from error


def _read_old_pickle(path: Path) -> Any:
    """Read what ``torch.save`` wrote before its zip format, through torch's own restricted unpickler."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{path}: not a weights file, or damaged, or one that would run code when opened (safetensors, "
            "OpenAI's archive or a plain PyTorch state dict is needed). Download it again, or save its state "
            "dict alone as .safetensors."
        ) from error


def _from_metadata(value: str, path: Path) -> Evidence:
    try:
        return Evidence(Activation(value), "the file's metadata")
    except ValueError as error:
        raise WeightsError(
            f"{path}: its metadata names the activation {value!r}; known are {', '.join(Activation)}."
        ) from error


def _openai_layout(content: Any, path: Path) -> dict[str, Tensor]:
    """Find the state dict in what was saved, and bring its names to OpenAI's layout."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a state dict.")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if sum(tensor.nbytes for tensor in tensors.values()) > path.stat().st_size:
        raise WeightsError(f"{path}: its tensors claim more than the file holds; it is damaged or hostile.")
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors; the state dict of a CLIP is needed.")
    layout = {}
    for key, value in tensors.items():
        # "module." is left by distributed training, "text." by open_clip's CustomTextCLIP.
        name = str(key).removeprefix("module.").removeprefix("text.")
        # Masks follow from the sizes, and the logits' bias is not used.
        if not name.endswith("attn_mask") and name != "logit_bias":
            layout[name] = value
    return layout


def read_open_clip_config(path: Path) -> dict[str, Any]:
    """Read an ``open_clip_config.json``.

    Raises:
        WeightsError: It is not a JSON object with a ``model_cfg``, or its ``preprocess_cfg`` is none.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config["model_cfg"], dict) or not isinstance(config.get("preprocess_cfg") or {}, dict):
            raise TypeError("model_cfg or preprocess_cfg is no object")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path}: not an open_clip configuration ({error!r}); mend it, or move the weights elsewhere."
        ) from error
    return dict(config)
