"""Prompt checkpoints: the authors' ``.pth`` files are read; our own safetensors are read and written."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from anomalyclip_med import __version__
from anomalyclip_med.errors import WeightsError
from anomalyclip_med.networks.anomalyclip import AnomalyCLIP
from anomalyclip_med.networks.prompts import PromptConfig

FORMAT = "anomalyclip_med.prompts"
_LEARNED = re.compile(r"ctx_pos|ctx_neg|compound_prompts_text\.\d+")
# In the authors' files beside the learned tensors: copies of CLIP's embeddings and projections that nothing uses.
_TOLERATED = re.compile(
    r"token_(prefix|suffix)_(pos|neg)|tokenized_prompts_(pos|neg)|compound_prompt_projections\.\d+\.(weight|bias)"
)
_MAX_BYTES = 256 * 2**20
"""The authors' files take 21 MB; nothing that holds prompts takes more than this."""


@dataclass(frozen=True)
class LearnedPrompts:
    """Learned prompts as read from a file, not yet tied to a CLIP.

    Attributes:
        tensors: ``ctx_pos``, ``ctx_neg`` (1, 1, context_length, D), ``compound_prompts_text.{i}`` (deep_length, D).
        config: shape and words; for files that do not record the words, the paper's.
        name: the file's name.
        sha256: of the file.
        backbone_name: CLIP that the prompts were trained with, None where the file does not say.
        backbone_sha256: its SHA-256, likewise.
    """

    tensors: dict[str, Tensor]
    config: PromptConfig
    name: str
    sha256: str
    backbone_name: str | None
    backbone_sha256: str | None


def read_prompts(path: str | Path, words: PromptConfig | None = None) -> LearnedPrompts:
    """Read an official ``{"prompt_learner": state_dict}`` file or one of ours.

    Args:
        path: ``.pth``/``.pt`` or ``.safetensors``.
        words: words of the prompts, for a file that does not record them.

    Raises:
        WeightsError: the file is missing, damaged, unsafe, or holds anything but prompts.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such prompt file")
    if path.stat().st_size > _MAX_BYTES:
        raise WeightsError(f"{path}: {path.stat().st_size / 2**20:.0f} MiB is too large for a file of prompts")
    state, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    tensors = _select_learned(state, path)
    config = _infer_config(tensors, metadata, words, path)
    return LearnedPrompts(
        tensors=tensors,
        config=config,
        name=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        backbone_name=metadata.get("backbone_name"),
        backbone_sha256=metadata.get("backbone_sha256"),
    )


def load_prompts(detector: AnomalyCLIP, checkpoint: LearnedPrompts) -> None:
    """Copy learned prompts into a detector of the same prompt configuration.

    Raises:
        WeightsError: the prompts were trained with another CLIP, or their shapes do not fit.
    """
    recorded = checkpoint.backbone_sha256
    if recorded is not None and recorded != detector.backbone_sha256:
        raise WeightsError(
            f"{checkpoint.name}: these prompts were trained with the CLIP {checkpoint.backbone_name} (SHA-256 "
            f"{recorded}), but the loaded one is {detector.backbone_name} (SHA-256 {detector.backbone_sha256}): "
            "load the CLIP that they were trained with"
        )
    learned = detector.prompt_learner.learned()
    for name, tensor in checkpoint.tensors.items():
        expected = tuple(learned[name].shape) if name in learned else None
        if expected != tuple(tensor.shape):
            raise WeightsError(
                f"{checkpoint.name}: {name} has shape {tuple(tensor.shape)}, but the CLIP {detector.backbone_name} "
                f"and the prompt configuration need {expected}: these prompts belong to another CLIP"
            )
    if missing := learned.keys() - checkpoint.tensors.keys():
        raise WeightsError(f"{checkpoint.name}: {', '.join(sorted(missing))} missing")
    with torch.no_grad():
        for name, tensor in checkpoint.tensors.items():
            learned[name].copy_(tensor)
    if recorded is None:
        detector.warnings.append(
            f"prompts-backbone-unrecorded: {checkpoint.name} does not say which CLIP its prompts were trained with"
        )
    detector.prompts_name, detector.prompts_sha256 = checkpoint.name, checkpoint.sha256


def save_prompts(detector: AnomalyCLIP, path: str | Path) -> None:
    """Write the learned prompts as safetensors, with their configuration and the CLIP's SHA-256 as metadata."""
    metadata = {
        "format": FORMAT,
        "package_version": __version__,
        "config": json.dumps(detector.prompt_learner.config.to_dict(), sort_keys=True),
        "backbone_name": detector.backbone_name,
        "backbone_sha256": detector.backbone_sha256,
    }
    tensors = {n: p.detach().cpu().contiguous() for n, p in detector.prompt_learner.learned().items()}
    save_file(tensors, path, metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error}); copy or fetch it again") from None


def _read_pickle(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: refused, because it is not a plain file of tensors: it holds Python objects or code, or is "
            "damaged; fetch it again from a source that you trust"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path}: truncated or not a PyTorch file ({type(error).__name__}); fetch it again"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("prompt_learner"), dict):
        return content["prompt_learner"], {}
    found = f"keys {sorted(map(str, content))[:3]}" if isinstance(content, dict) else f"a {type(content).__name__}"
    raise WeightsError(f'{path}: not a prompt checkpoint: expected {{"prompt_learner": ...}}, found {found}')


def _select_learned(state: dict[str, Any], path: Path) -> dict[str, Tensor]:
    unknown = [k for k in state if not _LEARNED.fullmatch(k) and not _TOLERATED.fullmatch(k)]
    if unknown:
        raise WeightsError(f"{path}: not a prompt checkpoint: unexpected {', '.join(unknown[:3])}")
    tensors = {k: v for k, v in state.items() if _LEARNED.fullmatch(k)}
    if missing := {"ctx_pos", "ctx_neg"} - tensors.keys():
        raise WeightsError(f"{path}: not a prompt checkpoint: {', '.join(sorted(missing))} missing")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise WeightsError(f"{path}: {name} is not a tensor of finite numbers")
    return tensors


def _infer_config(
    tensors: dict[str, Tensor], metadata: dict[str, str], words: PromptConfig | None, path: Path
) -> PromptConfig:
    deep = [name for name in tensors if name.startswith("compound_prompts_text.")]
    ctx = tensors["ctx_pos"].shape
    if len(ctx) != 4 or ctx != tensors["ctx_neg"].shape or ctx[:2] != (1, 1):
        raise WeightsError(f"{path}: ctx_pos and ctx_neg must both have the shape (1, 1, length, width)")
    config = words or PromptConfig()
    if "config" in metadata:
        try:
            config = PromptConfig(**json.loads(metadata["config"]))
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{path}: its recorded prompt configuration is unreadable ({error})") from None
    return replace(
        config,
        context_length=ctx[2],
        deep_depth=len(deep) + 1,
        deep_length=tensors[deep[0]].shape[0] if deep else config.deep_length,
    )
