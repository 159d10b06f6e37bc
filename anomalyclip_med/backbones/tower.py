"""A vision tower from its tensors alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import torch
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
from torch import Tensor, nn

from anomalyclip_med.backbones.activation import Activation


def build_tower(state: Mapping[str, Tensor], heads: int, epsilon: float, activation: Activation) -> VisionTransformer:
    """Build a frozen tower around its tensors, which are neither copied nor initialised at random first.

    Args:
        state: the state dict of open_clip's ``VisionTransformer``, float32; with or without layer scale, a norm before
            the blocks and a projection.
        heads: of each block's attention.
        epsilon: of the layer norms.
        activation: of the MLPs.

    Returns:
        The tower in evaluation mode, without gradients.

    Raises:
        KeyError, ValueError, RuntimeError: tensors are missing, unexpected or mis-shaped.
    """
    width, _, patch, _ = state["conv1.weight"].shape
    grid = round((len(state["positional_embedding"]) - 1) ** 0.5)
    hidden = len(state["transformer.resblocks.0.mlp.c_fc.weight"])
    if heads < 1 or width % heads:
        raise ValueError(f"{heads} heads do not divide the width {width}")
    with torch.device("meta"):
        tower = VisionTransformer(
            image_size=grid * patch,
            patch_size=patch,
            width=width,
            layers=len({match[1] for name in state if (match := re.match(r"transformer\.resblocks\.(\d+)\.", name))}),
            heads=heads,
            mlp_ratio=hidden / width,
            ls_init_value=1.0 if "transformer.resblocks.0.ls_1.gamma" in state else None,
            output_dim=state["proj"].shape[1] if "proj" in state else width,
            no_ln_pre="ln_pre.weight" not in state,
            act_layer=QuickGELU if activation is Activation.QUICK_GELU else nn.GELU,
            norm_layer=partial(LayerNorm, eps=epsilon),
        )
    if "proj" not in state:
        tower.proj = None
    tower.load_state_dict(state, assign=True)
    return tower.requires_grad_(False).eval()
