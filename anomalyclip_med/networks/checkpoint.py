"""Files of what a method learns: its authors' ``.pth`` files are read; our own safetensors are read and written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from anomalyclip_med import __version__
from anomalyclip_med.backbones.state_dict import TensorFile, read_tensor_file
from anomalyclip_med.errors import ConfigurationError, WeightsError
from anomalyclip_med.networks.detector import Detector
from anomalyclip_med.networks.prompts import PromptConfig
from anomalyclip_med.networks.views import VIEW_OPTIONS
from anomalyclip_med.weights import file_sha256, verify

FORMAT = "anomalyclip_med.prompts"
SETTINGS: dict[str, type | tuple[type, ...]] = {
    "image_size": int,
    "feature_layers": list,
    "dpam": str,
    "dpam_layers": (list, type(None)),
    "sigma": (int, float),
    "score": str,
    "top_fraction": (int, float),
    "neighbourhood": list,
    "class_name": str,
    "flip": bool,
    "scales": list,
    "skip_background": bool,
}
"""What our files record of a detector, with the types that the values may have."""


@dataclass(frozen=True)
class _Layout:
    """The files of one method.

    Attributes:
        container: key that the authors' files hold their state dict under; None where there are none.
        learned: names of the learned tensors, with their number of dimensions.
        complete: names of which one set must be there.
        settings: of the detector that our files record.
        tolerated: what the authors' files hold beside them.
    """

    container: str | None
    learned: dict[str, int]
    complete: tuple[set[str], ...]
    settings: tuple[str, ...]
    tolerated: str = ""

    def dimensions(self, name: str) -> int | None:
        """Of a learned tensor; None for any other."""
        return next((n for pattern, n in self.learned.items() if re.fullmatch(pattern, name)), None)


_LAYOUTS = {
    "AnomalyCLIP": _Layout(
        container="prompt_learner",
        learned={r"ctx_(pos|neg)": 4, r"compound_prompts_text\.\d+": 2, r"normal|abnormal": 1},
        complete=({"ctx_pos", "ctx_neg"}, {"normal", "abnormal"}),  # with a text tower, without one
        settings=tuple(name for name in SETTINGS if name != "class_name"),
        # Copies of CLIP's embeddings and projections that nothing uses.
        tolerated=r"token_(prefix|suffix)_(pos|neg)|tokenized_prompts_(pos|neg)"
        r"|compound_prompt_projections\.\d+\.(weight|bias)",
    ),
    "CoOp": _Layout(
        container=None,
        learned={"ctx": 2},
        complete=({"ctx"},),
        settings=("image_size", "sigma", "class_name", *VIEW_OPTIONS),
    ),
    "VAND": _Layout(
        container="trainable_linearlayer",
        learned={r"fc\.\d+\.weight": 2, r"fc\.\d+\.bias": 1},
        complete=({"fc.0.weight", "fc.0.bias"},),
        settings=("image_size", "feature_layers", "class_name", *VIEW_OPTIONS),
    ),
}
_MAX_BYTES = 256 * 2**20
"""The authors' files take 21 MB; nothing that a method learns takes more than this."""


@dataclass(frozen=True)
class LearnedPrompts:
    """Learned prompts, or what else a method learns, as read from a file, not yet tied to a CLIP.

    Attributes:
        tensors: ``ctx_pos``, ``ctx_neg`` (1, 1, context_length, D), ``compound_prompts_text.{i}`` (deep_length, D);
            or, for a backbone without a text tower, ``normal``, ``abnormal`` (E,); of CoOp ``ctx`` (context_length, D);
            of VAND ``fc.{i}.weight`` (E, D) and ``fc.{i}.bias`` (E,).
        config: shape and words; for files that do not record the words, the paper's; None without a text tower, and of
            other methods.
        name: the file's name.
        sha256: of the file.
        trained: False for prompts that were saved as they start.
        backbone_name: CLIP that the prompts were trained with, None where that is not known.
        backbone_sha256: its SHA-256, likewise.
        registered: one of the authors' own files.
        settings: of the detector that they were learned in, by the names of its arguments; empty
            for files that do not record them, the authors' among them.
    """

    tensors: dict[str, Tensor]
    config: PromptConfig | None
    name: str
    sha256: str
    trained: bool
    backbone_name: str | None
    backbone_sha256: str | None
    registered: bool
    settings: dict[str, Any]

    def check_backbone(self, name: str, sha256: str) -> list[str]:
        """Whether they were learned with this CLIP; returns warnings where that cannot be told.

        Raises:
            WeightsError: they were learned with another one.
        """
        if self.backbone_sha256 is None:
            return [f"prompts-backbone-unrecorded: {self.name} does not say which CLIP its prompts were trained with"]
        if self.backbone_sha256 == sha256:
            return []
        message = (
            f"{self.name}: these prompts were trained with the CLIP {self.backbone_name} (SHA-256 "
            f"{self.backbone_sha256}), but the loaded one is {name} (SHA-256 {sha256})"
        )
        if not self.registered:
            raise WeightsError(f"{message}: load the CLIP that they were trained with")
        # OpenAI's weights go about in several file formats, and only one has the published hash.
        return [f"prompts-backbone-unverified: {message}: right only if both hold the same weights"]


def read_prompts(path: str | Path, words: PromptConfig | None = None, method: str = "AnomalyCLIP") -> LearnedPrompts:
    """Read a file in the format of the method's authors or in ours.

    The authors' are ``{"prompt_learner": state_dict}`` for AnomalyCLIP and ``{"trainable_linearlayer": state_dict}``
    for VAND.

    Args:
        path: what ``torch.save`` or safetensors wrote.
        words: words of the prompts, for a file that does not record them.
        method: whose file it must be, as the detector names it.

    Raises:
        WeightsError: the file is missing, damaged, unsafe, of another method, or holds anything else.
        ConfigurationError: the method learns nothing.

    Examples:
        >>> from anomalyclip_med.networks import read_prompts
        >>> from anomalyclip_med.weights import resolve_prompts
        >>> prompts = read_prompts(resolve_prompts("offline"))  # those that come with the package
        >>> prompts.backbone_name, prompts.settings["image_size"], prompts.settings["feature_layers"]
        ('offline', 224, [7, 8, 9, 10])
        >>> sorted((name, tuple(tensor.shape)) for name, tensor in prompts.tensors.items())
        [('abnormal', (384,)), ('normal', (384,))]
    """
    path = Path(path)
    if method not in _LAYOUTS:
        raise ConfigurationError(f"{path}: {method} learns nothing, it takes no prompts")
    if path.is_file() and path.stat().st_size > _MAX_BYTES:
        raise WeightsError(f"{path}: {path.stat().st_size / 2**20:.0f} MiB is too large for a file of prompts")
    file = read_tensor_file(path)
    if file.metadata.get("format", FORMAT) != FORMAT:
        raise WeightsError(f"{path}: a safetensors file of the format {file.metadata['format']!r}, not {FORMAT!r}")
    if (of := _method_of(file)) not in (None, method):
        raise WeightsError(f"{path}: holds what {of} learned, not {method}: choose the method or the file to fit")
    tensors = _select_learned(file.content, path, _LAYOUTS[method])
    official = verify(path).checkpoint
    return LearnedPrompts(
        tensors=tensors,
        config=_infer_config(tensors, file.metadata, words, path),
        name=path.name,
        sha256=file_sha256(path),
        trained=file.metadata.get("trained") != "false",
        backbone_name=official.backbone if official else file.metadata.get("backbone_name"),
        backbone_sha256=official.backbone_sha256 if official else file.metadata.get("backbone_sha256"),
        registered=official is not None,
        settings=_read_settings(file.metadata, path, _LAYOUTS[method].settings),
    )


def load_prompts(detector: Detector, prompts: LearnedPrompts) -> None:
    """Copy what was learned into a detector of the same method and configuration.

    Args:
        detector: whose learned tensors are overwritten; it takes over the prompts' name, SHA-256 and whether they have
            been trained, and gets a warning where it cannot be told which CLIP they were learned with.
        prompts: from :func:`read_prompts`.

    Raises:
        WeightsError: the prompts were trained with another CLIP, or their shapes do not fit.

    Examples:
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.networks import load_prompts, read_prompts, save_prompts
        >>> detector = create_model("untrained", image_size=70)
        >>> save_prompts(detector, "start.safetensors")
        >>> _ = detector.learned()["ctx_pos"].data.zero_()  # in place of a training
        >>> load_prompts(detector, read_prompts("start.safetensors"))
        >>> detector.learned()["ctx_pos"].std(), detector.describe()["prompts"]
        (tensor(0.0..., grad_fn=<StdBackward0>), 'start.safetensors')
    """
    detector.warnings += prompts.check_backbone(detector.backbone_name, detector.backbone_sha256)
    learned = detector.learned()
    for name, tensor in prompts.tensors.items():
        expected = tuple(learned[name].shape) if name in learned else None
        if expected != tuple(tensor.shape):
            raise WeightsError(
                f"{prompts.name}: {name} has shape {tuple(tensor.shape)}, but the CLIP {detector.backbone_name} "
                f"and the configuration need {expected}: what the file holds belongs to another CLIP"
            )
    if missing := learned.keys() - prompts.tensors.keys():
        raise WeightsError(f"{prompts.name}: {', '.join(sorted(missing))} missing")
    with torch.no_grad():
        for name, tensor in prompts.tensors.items():
            learned[name].copy_(tensor)
    detector.prompts_name, detector.prompts_sha256 = prompts.name, prompts.sha256
    detector.prompts_trained = prompts.trained


def save_prompts(detector: Detector, path: str | Path) -> None:
    """Write what the detector has learned as safetensors.

    The metadata hold the method, the prompts' configuration, the detector's settings and the CLIP's name and SHA-256.

    Args:
        detector: of any method; set its ``prompts_trained`` after a training of your own.
        path: of the file, in a folder that is there.

    Examples:
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.networks import read_prompts, save_prompts
        >>> detector = create_model("untrained", image_size=70, prompt_config={"class_name": "brain"})
        >>> detector.prompts_trained = True
        >>> save_prompts(detector, "brain.safetensors")
        >>> prompts = read_prompts("brain.safetensors")
        >>> prompts.trained, prompts.settings["image_size"], prompts.config.words
        (True, 70, ('brain.', 'damaged brain.'))
    """
    metadata = {
        "format": FORMAT,
        "method": detector.method,
        "package_version": __version__,
        "config": json.dumps(detector.describe().get("prompt_config"), sort_keys=True),
        "settings": json.dumps(detector.settings(), sort_keys=True),
        "trained": "true" if detector.prompts_trained else "false",
        "backbone_name": detector.backbone_name,
        "backbone_sha256": detector.backbone_sha256,
    }
    tensors = {n: p.detach().cpu().contiguous() for n, p in detector.learned().items()}
    save_file(tensors, path, metadata)


def _method_of(file: TensorFile) -> str | None:
    """The method whose file it is; None where it does not tell."""
    if file.metadata.get("format") == FORMAT:
        return file.metadata.get("method", "AnomalyCLIP")
    keys = file.content if isinstance(file.content, dict) else ()
    return next((name for name, layout in _LAYOUTS.items() if layout.container in keys), None)


def _select_learned(content: Any, path: Path, layout: _Layout) -> dict[str, Tensor]:
    state = content.get(layout.container, content) if isinstance(content, dict) else content
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: not a prompt checkpoint, but a {type(state).__name__}")
    tensors = {str(k): v for k, v in state.items() if layout.dimensions(str(k)) is not None}
    unknown = [str(k) for k in state if str(k) not in tensors and not re.fullmatch(layout.tolerated, str(k))]
    if unknown:
        raise WeightsError(f"{path}: not a prompt checkpoint: unexpected {', '.join(unknown[:3])}")
    missing = min((names - tensors.keys() for names in layout.complete), key=len)
    if missing:
        raise WeightsError(f"{path}: not a prompt checkpoint: {', '.join(sorted(missing))} missing")
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or not tensor.isfinite().all():
            raise WeightsError(f"{path}: {name} is not a tensor of finite numbers")
        if tensor.ndim != layout.dimensions(name) or 0 in tensor.shape:
            raise WeightsError(f"{path}: {name} has the shape {tuple(tensor.shape)}, which no prompt has")
    return tensors


def are_settings(settings: Any, known: Collection[str] = SETTINGS) -> bool:
    """Whether a file's record of a detector's settings has nothing but known names, with values of their types."""
    return isinstance(settings, dict) and all(k in known and isinstance(v, SETTINGS[k]) for k, v in settings.items())


def _read_settings(metadata: dict[str, str], path: Path, known: tuple[str, ...]) -> dict[str, Any]:
    try:
        settings = json.loads(metadata.get("settings", "{}"))
    except ValueError:
        settings = None
    if not are_settings(settings, known):
        raise WeightsError(f"{path}: its recorded settings of the detector are unreadable")
    return dict(settings)


def _infer_config(
    tensors: dict[str, Tensor], metadata: dict[str, str], words: PromptConfig | None, path: Path
) -> PromptConfig | None:
    if "ctx_pos" not in tensors:
        return None
    deep = [name for name in tensors if name.startswith("compound_prompts_text.")]
    ctx = tensors["ctx_pos"].shape
    if ctx != tensors["ctx_neg"].shape or ctx[:2] != (1, 1):
        raise WeightsError(f"{path}: ctx_pos and ctx_neg must both have the shape (1, 1, length, width)")
    config = words or PromptConfig()
    if "config" in metadata:
        try:
            config = PromptConfig(**json.loads(metadata["config"]))
        except (ValueError, TypeError, ConfigurationError) as error:
            raise WeightsError(f"{path}: its recorded prompt configuration is unreadable ({error})") from None
    return replace(
        config,
        context_length=ctx[2],
        deep_depth=len(deep) + 1,
        deep_length=tensors[deep[0]].shape[0] if deep else config.deep_length,
    )
