"""DINOv2 vision transformers on open_clip's modules: a vision tower without a text tower.

The layout of the files is that of Hugging Face's ``Dinov2Model`` (Oquab et al., arXiv 2304.07193): layer scale, no norm
before the blocks, exact GELU, layer norms with epsilon 1e-6, heads 64 wide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor

from anomalyclip_med.backbones.activation import Activation
from anomalyclip_med.backbones.tower import build_tower
from anomalyclip_med.errors import WeightsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_PATCHES = "embeddings.patch_embeddings.projection.weight"
_HEAD_WIDTH = 64
_EPSILON = 1e-6

# Hugging Face's names within a block, and open_clip's. Queries, keys and values are packed separately.
_BLOCK = {
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attention.output.dense": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def is_dinov2(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has DINOv2's layout."""
    return _PATCHES in tensors


def build_dinov2(tensors: Mapping[str, Tensor], source: str) -> VisionTransformer:
    """Build the frozen tower in float32.

    Args:
        tensors: a state dict in the layout of Hugging Face's ``Dinov2Model``.
        source: the weights, for messages.

    Returns:
        The tower in evaluation mode, without gradients, on the CPU. It has no projection (``proj`` is None): its
        embedding is the width of its tokens.

    Raises:
        WeightsError: tensors are missing, unexpected, mis-shaped or not finite.
    """
    try:
        state = _open_clip_layout(tensors)
        tower = build_tower(state, len(state["class_embedding"]) // _HEAD_WIDTH, _EPSILON, Activation.GELU)
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        raise WeightsError(f"{source}: not the weights of a complete DINOv2 vision transformer ({error})") from error
    if not all(value.sum().isfinite() for value in state.values()):
        raise WeightsError(f"{source}: holds NaN or infinite values; get the file again")
    return tower


def _open_clip_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename to open_clip's layout; what is float32 and need not be put together stays where it is."""
    left = {name: value.float() for name, value in tensors.items()}
    left.pop("embeddings.mask_token", None)  # of the training only
    positions = left.pop("embeddings.position_embeddings")[0].clone()
    # open_clip's patch embedding has no bias. It is the same for every patch, so it moves into the positions, where
    # interpolation to another grid leaves it as it is.
    positions[1:] += left.pop("embeddings.patch_embeddings.projection.bias")
    state = {
        "conv1.weight": left.pop(_PATCHES),
        "class_embedding": left.pop("embeddings.cls_token").flatten(),
        "positional_embedding": positions,
        "ln_post.weight": left.pop("layernorm.weight"),
        "ln_post.bias": left.pop("layernorm.bias"),
    }
    depth = len({match[1] for name in left if (match := re.match(r"encoder\.layer\.(\d+)\.", name))})
    for index in range(depth):
        old, new = f"encoder.layer.{index}.", f"transformer.resblocks.{index}."
        for kind in ("weight", "bias"):
            packed = [left.pop(f"{old}attention.attention.{part}.{kind}") for part in ("query", "key", "value")]
            state[f"{new}attn.in_proj_{kind}"] = torch.cat(packed)
            for theirs, ours in _BLOCK.items():
                state[f"{new}{ours}.{kind}"] = left.pop(f"{old}{theirs}.{kind}")
        for number in (1, 2):
            state[f"{new}ls_{number}.gamma"] = left.pop(f"{old}layer_scale{number}.lambda1")
    if left:
        raise ValueError(f"unexpected {', '.join(sorted(left)[:4])}")
    return state
