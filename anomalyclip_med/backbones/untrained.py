"""CLIP, or its text tower alone, with random weights: the same code path, no download, no meaning."""

from __future__ import annotations

import hashlib

import open_clip
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor

from anomalyclip_med.backbones.activation import Activation
from anomalyclip_med.backbones.architecture import Architecture, build_clip

_SEED = 20240507
_TEXT = open_clip.CLIPTextCfg(width=128, heads=2, layers=12)  # as deep as CLIP's, a quarter of the width of ViT-B's

# As deep as ViT-L/14, so that block numbers mean the same; an eighth of its width, a fifth of its grid.
UNTRAINED = Architecture(
    embed_dim=96,
    vision=open_clip.CLIPVisionCfg(layers=24, width=128, head_width=64, patch_size=14, image_size=70),
    text=_TEXT,
)


def build_untrained(sizes: Architecture, activation: Activation) -> tuple[open_clip.CLIP, str]:
    """Build a CLIP with random weights.

    They depend on nothing but its sizes, this file and torch's CPU generator: the global random state is
    neither read nor changed.

    Returns:
        The model, as from `build_clip`, and the SHA-256 of its tensors.
    """
    tensors, sha256 = _random_tensors(sizes)
    return build_clip(sizes, tensors, activation, "untrained"), sha256


def add_untrained_text(visual: VisionTransformer) -> tuple[open_clip.CLIP, str]:
    """Build an untrained text tower beside a vision tower.

    Args:
        visual: the vision tower, which is used in place.

    Returns:
        Both as one model, in evaluation mode, without gradients; and the SHA-256 of the text tower's tensors.
    """
    width = visual.class_embedding.shape[0] if visual.proj is None else visual.proj.shape[1]
    tiny = open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=14, image_size=14)  # its place is taken below
    sizes = Architecture(embed_dim=int(width), vision=tiny, text=_TEXT)
    tensors, sha256 = _random_tensors(sizes)
    model = build_clip(sizes, tensors, Activation.QUICK_GELU, "the untrained text tower")
    model.visual = visual
    return model, sha256


def _random_tensors(sizes: Architecture) -> tuple[dict[str, Tensor], str]:
    """A seeded state dict and its SHA-256."""
    with torch.device("meta"):
        shapes = open_clip.CLIP(sizes.embed_dim, sizes.vision, sizes.text).state_dict()
    generator = torch.Generator().manual_seed(_SEED)
    tensors = {key: _random(key, value.shape, generator) for key, value in sorted(shapes.items())}
    digest = hashlib.sha256()
    for key, value in tensors.items():
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    return tensors, digest.hexdigest()


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
