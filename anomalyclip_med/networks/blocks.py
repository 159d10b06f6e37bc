"""One block of a frozen vision transformer, on CLIP's own path and on the side path of DPAM."""

from __future__ import annotations

from enum import StrEnum

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from anomalyclip_med.backbones.precision import project_in
from anomalyclip_med.errors import ConfigurationError


class DPAMAttention(StrEnum):
    """Which projection attends to itself in the side path; ``OFF`` takes patch features from the original path."""

    VV = "vv"
    QQ = "qq"
    KK = "kk"
    OFF = "off"

    @classmethod
    def _missing_(cls, value: object) -> DPAMAttention:
        raise ConfigurationError(f"dpam={value!r} is unknown: choose one of {', '.join(cls)}")


def run_block(
    block: ResidualAttentionBlock,
    tokens: Tensor,
    side: Tensor | None = None,
    dpam: DPAMAttention = DPAMAttention.OFF,
    class_only: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Run a block on the original path, and add its self-similar attention to the side path.

    Both paths share the projections, and of what is not used nothing is computed.

    Args:
        block: of open_clip; without gradients.
        tokens: (B, N, D) of the original path, class token first.
        side: (B, N, D) of the side path; None where there is none.
        dpam: what attends to itself in the side path.
        class_only: whether of the original path only the class token is used afterwards.

    Returns:
        Tokens of the original path, (B, 1, D) if ``class_only``, and those of the side path.
    """
    attention = block.attn
    normed = block.ln_1(tokens)

    def split(projected: Tensor) -> tuple[Tensor, ...]:
        """(B, N, parts D) -> parts of (B, heads, N, D / heads), in order: attention to heads apart takes longer."""
        parts = projected.unflatten(-1, (-1, attention.num_heads, tokens.shape[-1] // attention.num_heads))
        return parts.permute(2, 0, 3, 1, 4).contiguous().unbind(0)

    if class_only and dpam is not DPAMAttention.QQ and isinstance(attention, nn.MultiheadAttention):
        weight, bias, width = attention.in_proj_weight, attention.in_proj_bias, attention.embed_dim
        (q,) = split(F.linear(normed[:, :1], weight[:width], bias[:width]))
        k, v = split(F.linear(normed, weight[width:], bias[width:]))
    else:
        q, k, v = split(project_in(attention, normed))

    def attend(query: Tensor, key: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(query, key, v).transpose(1, 2).flatten(2)
        return block.ls_1(attention.out_proj(mixed))

    if side is not None:
        similar = {DPAMAttention.VV: v, DPAMAttention.QQ: q, DPAMAttention.KK: k}[dpam]
        side = side + attend(similar, similar)
    if class_only:
        tokens, q = tokens[:, :1], q[:, :, :1]
    tokens = tokens + attend(q, k)
    return tokens + block.ls_2(_mlp(block.mlp, block.ln_2(tokens))), side


def _mlp(mlp: nn.Sequential, x: Tensor) -> Tensor:
    first, activation, second = mlp
    if not (isinstance(activation, QuickGELU) and isinstance(first, nn.Linear) and isinstance(second, nn.Linear)):
        hidden: Tensor = mlp(x)
        return hidden
    # x sigmoid(1.702 x) = silu(1.702 x) / 1.702: the products take the factors, and one pass in place does the rest.
    factor, flat = 1.702, x.flatten(0, 1)
    hidden = torch.addmm(first.bias, flat, first.weight.T, beta=factor, alpha=factor)
    hidden = F.silu(hidden, inplace=True)
    return torch.addmm(second.bias, hidden, second.weight.T, alpha=1 / factor).view_as(x)
