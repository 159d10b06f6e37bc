"""One door to CLIP weights: by name, from a file, or untrained."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transformer import VisionTransformer

from anomalyclip_med.backbones.activation import Activation, Evidence, decide_activation
from anomalyclip_med.backbones.architecture import Architecture, build_clip
from anomalyclip_med.backbones.backbone import Backbone
from anomalyclip_med.backbones.dinov2 import IMAGENET_MEAN, IMAGENET_STD, build_dinov2, is_dinov2
from anomalyclip_med.backbones.offline import OFFLINE_NAME, OFFLINE_SHA256, WARNING, offline_path
from anomalyclip_med.backbones.state_dict import read_open_clip_config, read_state_dict
from anomalyclip_med.backbones.untrained import UNTRAINED, add_untrained_text, build_untrained
from anomalyclip_med.errors import WeightsError
from anomalyclip_med.weights import file_sha256

_UNTRAINED = "untrained"
_OFFLINE_TEXT = "offline-text"
_FILE_SUFFIXES = {".pt", ".pth", ".bin", ".safetensors", ".ckpt"}


def load_clip(source: str | Path = _UNTRAINED, *, activation: Activation | str | None = None) -> Backbone:
    """Load a frozen CLIP with a vision transformer, or a DINOv2 in its place.

    Args:
        source: One of

            - ``"offline"``: the vision-only backbone that `anomalyclip-med weights fetch offline` brings;
            - ``"offline-text"``: the same with a small untrained text tower, for learning prompts where no CLIP can be
              downloaded; what compares images with given sentences is at chance on it;
            - ``"ARCHITECTURE/TAG"``, e.g. ``"ViT-L-14-336/openai"``: downloaded once through open_clip, into its own
              cache;
            - the path of a weights file: OpenAI's TorchScript archive, a state dict in OpenAI's or
              open_clip's layout (``.pt``, ``.pth``, ``.bin``, ``.safetensors``), with open_clip's
              ``open_clip_config.json`` beside it or without; or a DINOv2 in Hugging Face's layout, such as Meta's
              own ``dinov2-small``, which has no text tower;
            - ``"untrained"``: a small network with fixed random weights, for trying things out; and
              ``"ARCHITECTURE/untrained"``, e.g. ``"ViT-L-14-336/untrained"``, one of open_clip's with such weights, for
              measuring times.
        activation: The MLP activation, for files that do not tell it. One that contradicts the weights is an
            error, never an override.

    Returns:
        The backbone.

    Raises:
        WeightsError: The weights are missing, unknown, damaged, unsafe, not what their name promises, or not
            of a CLIP with a vision transformer; the message says what to do.

    Examples:
        >>> from anomalyclip_med.backbones import load_clip
        >>> backbone = load_clip("untrained")
        >>> backbone.visual.image_size, len(backbone.visual.transformer.resblocks)
        ((70, 70), 24)
        >>> backbone.trained, backbone.warnings
        (False, ('untrained-weights: the CLIP weights are random; scores and maps mean nothing.',))
        >>> load_clip("ViT-L-14-336/opnai")
        Traceback (most recent call last):
        anomalyclip_med.errors.WeightsError: CLIP weights 'ViT-L-14-336/opnai' are neither a file nor a name that
        open_clip knows; near are ViT-L-14-336/openai. Give ARCHITECTURE/TAG as in ViT-L-14-336/openai, or the path of a
        weights file.
    """
    evidence = []
    if activation is not None:
        try:
            evidence.append(Evidence(Activation(activation), "the argument activation"))
        except ValueError as error:
            raise WeightsError(
                f"The activation {activation!r} is unknown; known are {', '.join(Activation)}."
            ) from error
    if source == _UNTRAINED:
        return _untrained(_UNTRAINED, UNTRAINED, evidence)
    if source == OFFLINE_NAME:
        return _load(offline_path(), OFFLINE_NAME, evidence)
    if source == _OFFLINE_TEXT:
        return _with_untrained_text(_load(offline_path(), OFFLINE_NAME, evidence))
    path = Path(source).expanduser()
    if isinstance(source, Path) or path.suffix in _FILE_SUFFIXES or path.exists():
        return _from_file(path, evidence)
    return _from_name(source, evidence)


def _untrained(name: str, sizes: Architecture, evidence: list[Evidence]) -> Backbone:
    activation = evidence[0].activation if evidence else Activation.QUICK_GELU
    model, sha256 = build_untrained(sizes, activation)
    return Backbone(
        visual=model.visual,
        clip=model,
        name=name,
        activation=activation,
        sha256=sha256,
        trained=False,
        warnings=("untrained-weights: the CLIP weights are random; scores and maps mean nothing.",),
        image_mean=open_clip.OPENAI_DATASET_MEAN,
        image_std=open_clip.OPENAI_DATASET_STD,
        interpolation="bilinear",
    )


def _with_untrained_text(backbone: Backbone) -> Backbone:
    model, sha256 = add_untrained_text(backbone.visual)
    warning = (
        "untrained-text: the text tower is random: prompts can be learned through it, but words mean nothing, and "
        "methods that only compare images with sentences are at chance"
    )
    return replace(
        backbone,
        clip=model,
        name=_OFFLINE_TEXT,
        sha256=hashlib.sha256(f"{backbone.sha256}{sha256}".encode()).hexdigest(),
        trained=False,
        warnings=(*backbone.warnings, warning),
    )


def _from_file(path: Path, evidence: list[Evidence]) -> Backbone:
    """Load a local file, with the configuration that may lie beside it."""
    config_path = path.with_name("open_clip_config.json")
    if not config_path.is_file():
        return _load(path, path.name, evidence)
    config = read_open_clip_config(config_path)
    evidence = [*evidence, _config_evidence(config["model_cfg"], str(config_path))]
    return _load(
        path,
        path.name,
        evidence,
        architecture=Architecture.from_config(config["model_cfg"], str(config_path)),
        preprocessing=config.get("preprocess_cfg") or {},
    )


def _from_name(source: str, evidence: list[Evidence]) -> Backbone:
    """Load one of open_clip's pretrained models."""
    architecture, _, tag = source.rpartition("/")
    if tag == _UNTRAINED and open_clip.get_model_config(architecture):
        return _untrained(source, Architecture.from_config(open_clip.get_model_config(architecture), source), evidence)
    if not open_clip.is_pretrained_cfg(architecture, tag):
        raise WeightsError(_unknown(source))
    model_config = open_clip.get_model_config(architecture)
    pretrained = open_clip.get_pretrained_cfg(architecture, tag)
    sizes = Architecture.from_config(model_config, source)  # before a download in vain
    evidence = [*evidence, _config_evidence(pretrained, f"open_clip's entry for {source}")]
    decide_activation(evidence, source)
    path = _download(source, pretrained)
    return _load(path, source, evidence, architecture=sizes, preprocessing=pretrained)


def _load(
    path: Path,
    name: str,
    evidence: list[Evidence],
    *,
    architecture: Architecture | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> Backbone:
    """Verify, read and build: the one road that every weights file takes."""
    state = read_state_dict(path)
    sha256 = file_sha256(path)
    published = _openai_sha256().get(path.name)
    if published not in (None, sha256):
        raise WeightsError(
            f"{path}: named as OpenAI's file, but its SHA-256 is {sha256} instead of {published}; download "
            "it again, or rename it if it is a file of your own."
        )
    if is_dinov2(state.tensors):
        decide_activation([Evidence(Activation.GELU, "DINOv2's architecture"), *evidence], str(path))
        return _vision_only(build_dinov2(state.tensors, str(path)), name, sha256)
    evidence = [*evidence, *state.evidence]
    genuine = sha256 in _openai_sha256().values()
    if genuine:
        evidence.append(Evidence(Activation.QUICK_GELU, "OpenAI's SHA-256"))
    activation, warnings = decide_activation(evidence, str(path))
    if architecture is None:
        architecture = Architecture.from_tensors(state.tensors, str(path))
    # An archive does not tell a module's weights from other tensors that it keeps. OpenAI's own loader takes
    # the names of a CLIP and no others from its files; in anybody else's, extra tensors may change the result.
    model = build_clip(architecture, state.tensors, activation, str(path), ignore_extra=genuine)
    preprocessing = preprocessing or {}
    image_std = _rgb(preprocessing.get("std", open_clip.OPENAI_DATASET_STD), name)
    if min(image_std) <= 0:
        raise WeightsError(f"{name}: the image std is {image_std}; it must be above 0.")
    return Backbone(
        visual=model.visual,
        clip=model,
        name=name,
        activation=activation,
        sha256=sha256,
        trained=True,
        warnings=warnings,
        image_mean=_rgb(preprocessing.get("mean", open_clip.OPENAI_DATASET_MEAN), name),
        image_std=image_std,
        interpolation="bilinear",
    )


def _vision_only(visual: VisionTransformer, name: str, sha256: str) -> Backbone:
    return Backbone(
        visual=visual,
        clip=None,
        name=name,
        activation=Activation.GELU,
        sha256=sha256,
        trained=True,
        warnings=(WARNING,) if sha256 == OFFLINE_SHA256 else (),
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
        interpolation="bicubic",
    )


def _config_evidence(config: Mapping[str, Any], reason: str) -> Evidence:
    quick = config.get("quick_gelu", False)
    return Evidence(Activation.QUICK_GELU if quick else Activation.GELU, reason)


def _rgb(values: Any, name: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in values)
        if not math.isfinite(red + green + blue):
            raise ValueError("not finite")
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{name}: the image mean or std is {values!r}; three numbers are needed.") from error
    return red, green, blue


@cache
def _openai_sha256() -> dict[str, str]:
    """OpenAI's file names and their SHA-256, which OpenAI made the folder of each address."""
    urls = (open_clip.get_pretrained_url(name, "openai") for name in open_clip.list_openai_models())
    return {url.rsplit("/", 1)[1]: url.rsplit("/", 2)[1] for url in urls}


def _unknown(source: str) -> str:
    """Say that a name is unknown, and which ones are near."""
    names = [OFFLINE_NAME, _OFFLINE_TEXT, _UNTRAINED, *("/".join(pair) for pair in open_clip.list_pretrained())]
    architecture = source.partition("/")[0]
    near = [name for name in names if name.partition("/")[0] in (source, architecture)]
    near = near or difflib.get_close_matches(source, names, n=5, cutoff=0.5)
    hint = f"; near are {', '.join(near[:8])}" if near else ""
    return (
        f"CLIP weights {source!r} are neither a file nor a name that open_clip knows{hint}. Give "
        "ARCHITECTURE/TAG as in ViT-L-14-336/openai, or the path of a weights file."
    )


def _download(source: str, pretrained: dict[str, Any]) -> Path:
    """Fetch through open_clip, from the publisher's own address where there is one."""
    url = pretrained.get("url")
    if url:
        file_name = url.rsplit("/", 1)[1]
        place = f"save it as {Path('~/.cache/clip').expanduser() / file_name} or anywhere"  # open_clip's cache
    else:
        repository, _, file_name = pretrained["hf_hub"].rpartition("/")
        file_name = file_name or "open_clip_pytorch_model.bin"
        url = f"https://huggingface.co/{repository}/resolve/main/{file_name}"
        place = "save it anywhere, with its open_clip_config.json beside it"
    try:
        return Path(open_clip.download_pretrained(pretrained, prefer_hf_hub=False))
    except (OSError, RuntimeError, HTTPException, TypeError) as error:  # TypeError: no Content-Length
        raise WeightsError(
            f"{source}: the weights are not here and could not be downloaded ({error}): download {url}, "
            f"{place}, and point to it with clip=/path/to/{file_name}"
        ) from error
