"""A vision tower whose large products are computed in fewer bits."""

from __future__ import annotations

import warnings
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError

_ENGINE = "onednn"


class Precision(StrEnum):
    """Of the products of the vision tower's blocks; all else is computed in float32.

    ``BFLOAT16`` and ``FLOAT16`` hold weights, queries, keys, values and the MLP's inner layer so. ``INT8`` holds
    weights with a scale per output channel, and rounds what they are multiplied with, each image on its own scale
    (PyTorch's dynamic quantisation); attention stays in float32.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"

    @classmethod
    def _missing_(cls, value: object) -> Precision:
        raise ConfigurationError(f"precision={value!r} is unknown: choose one of {', '.join(cls)}")

    def check_device(self, device: torch.device) -> None:
        """See that it can be computed in there.

        Raises:
            ConfigurationError: it cannot; names what to choose.
        """
        if self is Precision.INT8 and device.type != "cpu":
            raise ConfigurationError(f"precision=int8 is for CPUs, the device is {device}: choose bfloat16 or float16")
        if self is Precision.FLOAT16 and device.type == "cpu":
            raise ConfigurationError("precision=float16 is for GPUs, the device is cpu: choose bfloat16 or int8")


def reduce_precision(visual: VisionTransformer, precision: Precision) -> None:
    """Exchange the large products of a tower's blocks: queries, keys, values, attention's output and the MLP."""
    for block in visual.transformer.resblocks:
        block.attn = SelfAttention(block.attn, precision)
        for name in ("c_fc", "c_proj"):
            linear = block.mlp.get_submodule(name)
            setattr(block.mlp, name, _product(linear.weight, linear.bias, precision))


def _product(weight: Tensor, bias: Tensor, precision: Precision) -> nn.Module:
    if precision is Precision.INT8:
        return _Int8Linear(weight, bias)
    return _HalfLinear(weight, bias, {"bfloat16": torch.bfloat16, "float16": torch.float16}[precision])


class SelfAttention(nn.Module):
    """A block's ``nn.MultiheadAttention`` with both projections as modules, as open_clip's blocks call it.

    Args:
        attention: whose weights are taken over.
        precision: of the projections.

    Attributes:
        in_proj: tokens (..., D) to queries, keys and values (..., 3 D).
        out_proj: their mixture (..., D) to what is added to the tokens.
    """

    def __init__(self, attention: nn.MultiheadAttention, precision: Precision) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.in_proj = _product(attention.in_proj_weight, attention.in_proj_bias, precision)
        self.out_proj = _product(attention.out_proj.weight, attention.out_proj.bias, precision)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Attention of tokens (B, M, D) to tokens (B, N, D); ``key`` is ``value``.

        Returns:
            (B, M, D), and None in place of weights.
        """
        (q, _, _), (_, k, v) = (self._heads(tokens) for tokens in (query, key))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None

    def _heads(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (B, heads, N, D / heads)."""
        return self.in_proj(tokens).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def project_in(attention: nn.MultiheadAttention | SelfAttention, tokens: Tensor) -> Tensor:
    """Tokens (B, N, D) to their queries, keys and values (B, N, 3 D), whatever the precision."""
    if isinstance(attention, SelfAttention):
        return attention.in_proj(tokens)
    return F.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)


class _HalfLinear(nn.Module):
    """A linear layer with 16-bit weights, input and output; adding the output to float32 tokens gives float32."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().to(dtype))
        self.register_buffer("bias", bias.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class _Int8Linear(nn.Module):
    """PyTorch's dynamically quantised linear layer, image by image: one scale for all would mix them.

    oneDNN's kernels need no bit of reserve, unlike FBGEMM's, and are fast from AVX512-VNNI on.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        if _ENGINE not in torch.backends.quantized.supported_engines:
            raise ConfigurationError("precision=int8 needs a PyTorch with oneDNN: choose float32 or bfloat16")
        scales = weight.detach().abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        self._bias = bias.detach()
        with warnings.catch_warnings():
            # PyTorch wants to move quantised tensors into another package, which has no such kernels.
            warnings.simplefilter("ignore")
            zeros = torch.zeros(len(weight), dtype=torch.long)
            self._weight = torch.quantize_per_channel(weight.detach(), scales, zeros, 0, torch.qint8)
        self._packed = self._pack()

    def _pack(self) -> Any:
        before = torch.backends.quantized.engine
        try:
            torch.backends.quantized.engine = _ENGINE
            return torch.ops.quantized.linear_prepack(self._weight, self._bias)
        finally:
            torch.backends.quantized.engine = before

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._packed = self._pack()  # what was packed would be unpacked for the engine of the moment

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            raise ConfigurationError("precision=int8 depends on this machine's kernels, which no export can hold")
        images = [torch.ops.quantized.linear_dynamic(image, self._packed, False) for image in x]
        return images[0][None] if len(images) == 1 else torch.stack(images)
