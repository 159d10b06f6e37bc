"""A small CLIP with random weights: the same shapes and code path, no download, no meaning."""

from __future__ import annotations

import hashlib

import open_clip
import torch
from torch import Tensor

from anomalyclip_med.backbones.activation import Activation
from anomalyclip_med.backbones.architecture import Architecture, build_clip

_SEED = 20240507

# As deep as ViT-L/14, so that block numbers mean the same; an eighth of its width, a fifth of its grid.
UNTRAINED = Architecture(
    embed_dim=96,
    vision=open_clip.CLIPVisionCfg(layers=24, width=128, head_width=64, patch_size=14, image_size=70),
    text=open_clip.CLIPTextCfg(width=128, heads=2, layers=12),
)


def build_untrained(activation: Activation = Activation.QUICK_GELU) -> tuple[open_clip.CLIP, str]:
    """Build the untrained network.

    Its weights depend on nothing but this file and torch's CPU generator: the global random state is
    neither read nor changed.

    Returns:
        The model, as from `build_clip`, and the SHA-256 of its tensors.
    """
    with torch.device("meta"):
        shapes = open_clip.CLIP(UNTRAINED.embed_dim, UNTRAINED.vision, UNTRAINED.text).state_dict()
    generator = torch.Generator().manual_seed(_SEED)
    tensors = {key: _random(key, value.shape, generator) for key, value in sorted(shapes.items())}
    digest = hashlib.sha256()
    for key, value in tensors.items():
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    return build_clip(UNTRAINED, tensors, activation, "untrained"), digest.hexdigest()


def _random(key: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Values that keep the activations near unit size through all blocks and the features apart."""
    if key == "logit_scale":
        return torch.tensor(100.0).log()
    if key.endswith(".bias") or key.endswith("in_proj_bias"):
        return torch.zeros(shape)
    if len(shape) == 1 and ".ln_" in f".{key}":
        return torch.ones(shape)
    values = torch.randn(shape, generator=generator)
    if key.endswith((".weight", "proj_weight")) and not key.startswith("token_embedding"):
        values /= shape[1:].numel() ** 0.5  # (out, in, ...): unit variance in, unit variance out
    elif key in ("visual.proj", "text_projection"):
        values /= shape[0] ** 0.5
    if key.endswith(("out_proj.weight", "c_proj.weight")):
        # What a block adds must not drown what came in, or every input ends at the same feature.
        values *= 0.6
    elif key.endswith("in_proj_weight"):
        values[: 2 * shape[1]] *= 1.5  # queries and keys: attention that prefers some patches to others
    elif key in ("visual.class_embedding", "visual.positional_embedding"):
        values *= 0.3  # the image, not the position, makes the feature
    return values
