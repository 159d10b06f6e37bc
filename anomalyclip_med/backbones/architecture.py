"""From a state dict to an ``open_clip.CLIP``: sizes, checks, construction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
from torch import Tensor

from anomalyclip_med.backbones.activation import Activation
from anomalyclip_med.errors import WeightsError

_HEAD_WIDTH = 64  # of every CLIP that OpenAI published
_MAX_CONTEXT = 1024  # the causal mask grows with its square; CLIP's is 77
_MAX_LAYERS, _MAX_SIZE = 1000, 10**6  # of a configuration's numbers, which no file size bounds
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# The options of a plain CLIP ViT in open_clip's configurations. Anything else changes the computation that
# the networks of this package rebuild block by block. Patch dropout acts in training only.
_MODEL_OPTIONS = {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "quick_gelu",
    "custom_text",
    "init_logit_scale",
    "init_logit_bias",
}
_VISION_OPTIONS = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "patch_dropout"}
_TEXT_OPTIONS = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}


@dataclass(frozen=True)
class Architecture:
    """The sizes of a CLIP with a vision transformer.

    Attributes:
        embed_dim: Width of the shared embedding.
        vision: open_clip's configuration of the vision tower.
        text: open_clip's configuration of the text tower.
    """

    embed_dim: int
    vision: open_clip.CLIPVisionCfg
    text: open_clip.CLIPTextCfg

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: str) -> Architecture:
        """Read one of open_clip's model configurations.

        Args:
            config: ``embed_dim``, ``vision_cfg``, ``text_cfg`` as in open_clip's JSON files.
            source: Where the configuration stands, for messages.

        Raises:
            WeightsError: The configuration is not of a plain CLIP with a vision transformer.
        """
        try:
            embed_dim = config["embed_dim"]
            vision = {k: v for k, v in config["vision_cfg"].items() if v is not None}
            text = {k: v for k, v in config["text_cfg"].items() if v is not None}
        except (KeyError, AttributeError, TypeError) as error:
            raise WeightsError(
                f"{source}: not an open_clip model configuration (embed_dim, vision_cfg and text_cfg are "
                "needed); remove or mend it."
            ) from error
        foreign = sorted((set(config) - _MODEL_OPTIONS) | (set(vision) - _VISION_OPTIONS) | (set(text) - _TEXT_OPTIONS))
        if foreign or not isinstance(vision.get("layers", 12), int):
            what = f"options {', '.join(foreign[:5])}" if foreign else "a ResNet"
            raise WeightsError(
                f"{source}: not a plain CLIP with a vision transformer ({what}); only ViT CLIPs such as "
                "ViT-L-14-336/openai can be used."
            )
        vision.pop("patch_dropout", None)
        for name, value in [("embed_dim", embed_dim), *vision.items(), *text.items()]:
            kind = (int, float) if name == "mlp_ratio" else int
            most = {"layers": _MAX_LAYERS, "context_length": _MAX_CONTEXT}.get(name, _MAX_SIZE)
            if not isinstance(value, kind) or not 0 < value <= most:
                raise WeightsError(f"{source}: {name} is {value!r}, no size of a CLIP; mend or remove it.")
        sizes = cls(embed_dim, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text))
        if sizes.vision.width % sizes.vision.head_width or sizes.text.width % sizes.text.heads:
            raise WeightsError(f"{source}: the attention heads do not divide the width; mend or remove it.")
        return sizes

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], source: str) -> Architecture:
        """Infer the sizes from the weights; heads are 64 wide, as in all of OpenAI's models.

        Args:
            tensors: A state dict in OpenAI's key layout.
            source: The weights, for messages.

        Raises:
            WeightsError: A tensor that tells a size is missing or cannot belong to a CLIP ViT.
        """
        if any(key.startswith("visual.layer1.") for key in tensors):
            raise WeightsError(f"{source}: a ResNet CLIP; only CLIPs with a vision transformer (ViT-...) can be used.")

        def shape(key: str, dimensions: int) -> tuple[int, ...]:
            if key not in tensors:
                raise WeightsError(
                    f"{source}: no tensor {key!r}, so these are not the weights of a CLIP with a vision "
                    "transformer in OpenAI's or open_clip's format."
                )
            size = tuple(tensors[key].shape)
            if len(size) != dimensions or 0 in size:
                raise WeightsError(f"{source}: {key!r} has the shape {size}; a CLIP ViT's has {dimensions} dimensions.")
            return size

        vision_width, _, patch, _ = shape("visual.conv1.weight", 4)
        positions, _ = shape("visual.positional_embedding", 2)
        _, embed_dim = shape("visual.proj", 2)
        vocabulary, text_width = shape("token_embedding.weight", 2)
        context, _ = shape("positional_embedding", 2)
        vision_hidden, _ = shape("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)
        text_hidden, _ = shape("transformer.resblocks.0.mlp.c_fc.weight", 2)
        grid = round((positions - 1) ** 0.5)
        for problem, is_so in {
            f"vision width {vision_width} is no multiple of {_HEAD_WIDTH}": vision_width % _HEAD_WIDTH,
            f"text width {text_width} is no multiple of {_HEAD_WIDTH}": text_width % _HEAD_WIDTH,
            f"{positions} image positions are no square grid and a class token": grid**2 + 1 != positions,
            f"{context} text positions are too many": context > _MAX_CONTEXT,
        }.items():
            if is_so:
                raise WeightsError(f"{source}: {problem}, so these are not the weights of a CLIP ViT.")
        return cls(
            embed_dim,
            open_clip.CLIPVisionCfg(
                layers=_count_blocks(tensors, "visual.transformer.resblocks."),
                width=vision_width,
                head_width=_HEAD_WIDTH,
                mlp_ratio=vision_hidden / vision_width,
                patch_size=patch,
                image_size=patch * grid,
            ),
            open_clip.CLIPTextCfg(
                context_length=context,
                vocab_size=vocabulary,
                width=text_width,
                heads=text_width // _HEAD_WIDTH,
                layers=_count_blocks(tensors, "transformer.resblocks."),
                mlp_ratio=text_hidden / text_width,
            ),
        )


def _count_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({match[1] for key in tensors if (match := pattern.match(key))})


def build_clip(
    architecture: Architecture,
    tensors: dict[str, Tensor],
    activation: Activation,
    source: str,
    *,
    ignore_extra: bool = False,
) -> open_clip.CLIP:
    """Build the frozen model in float32 around the tensors.

    The model is laid out on the meta device and takes the tensors as they are, so a ViT-L is neither
    initialised at random first nor held twice.

    Args:
        architecture: The sizes.
        tensors: The state dict in OpenAI's key layout, float16, bfloat16, float32 or float64. The
            dictionary is emptied on the way, so that a converted tensor's original can be freed.
        activation: The MLP activation.
        source: The weights, for messages.
        ignore_extra: Leave out tensors that a CLIP has no place for, instead of refusing them.

    Returns:
        The model, in evaluation mode, float32, without gradients, on the CPU.

    Raises:
        WeightsError: Tensors are missing, unexpected, of another shape or type, or not finite.
    """
    with torch.device("meta"):
        model = open_clip.CLIP(
            architecture.embed_dim,
            architecture.vision,
            architecture.text,
            quick_gelu=activation is Activation.QUICK_GELU,
        )
    expected = model.state_dict()
    if ignore_extra:
        for key in tensors.keys() - expected.keys():
            del tensors[key]
    _check_layout(expected, tensors, source)
    weights = {}
    for key in expected:
        # No copy of what is float32 already: of a safetensors file it stays mapped.
        weights[key] = tensors.pop(key).to(torch.float32).contiguous()
        # One bad value spoils the sum, which costs a tenth of looking at each.
        if not weights[key].sum().isfinite():
            raise WeightsError(f"{source}: {key!r} holds NaN or infinite values; download the file again.")
    model.load_state_dict(weights, assign=True)
    # The one buffer that no state dict holds: still on the meta device.
    length = architecture.text.context_length
    model.attn_mask = torch.full((length, length), float("-inf")).triu_(1)
    return model.requires_grad_(False).eval()


def _check_layout(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise a WeightsError that names the first few tensors that do not fit."""
    shared = [key for key in expected if key in tensors]
    for problem, names in {
        "missing": [key for key in expected if key not in tensors],
        "unexpected": [key for key in tensors if key not in expected],
        "of the wrong shape": [
            f"{key} {tuple(tensors[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in shared
            if tensors[key].shape != expected[key].shape
        ],
        "not floating-point numbers": [
            f"{key} {tensors[key].dtype}" for key in shared if tensors[key].dtype not in _FLOATS
        ],
    }.items():
        if names:
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            raise WeightsError(
                f"{source}: tensors {problem}: {', '.join(names[:4])}{more}. "
                "Use the weights of a complete CLIP with a vision transformer."
            )
