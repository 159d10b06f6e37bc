"""AnomalyCLIP's two-path forward as its authors run it: explicit softmax matrices, every block in full on both paths.

Written from the paper and from what the published code computes; it shares the weights with the package and no code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from anomalyclip_med.networks import AnomalyCLIP


def plain_forward(detector: AnomalyCLIP, images: Tensor) -> tuple[Tensor, Tensor]:
    """Score normalised images (B, 3, S, S) with DPAM's V-V path; (B,) and (B, 1, S, S)."""
    vision, visual = detector.vision, detector.vision.visual
    tokens = visual.conv1(images).flatten(2).transpose(1, 2)
    tokens = torch.cat([visual.class_embedding.expand(len(tokens), 1, -1), tokens], dim=1)
    tokens = local = visual.ln_pre(tokens + vision.positional_embedding)
    layers = []
    for number, block in enumerate(visual.transformer.resblocks, start=1):
        tokens, local = _block(block, tokens, local, number in vision.dpam_blocks)
        if number in vision.feature_layers:
            layers.append(_projected(visual, visual.ln_post(local)))
    states = detector.text_features
    image_feature = F.normalize(_projected(visual, tokens[:, 0]), dim=-1)
    score = (image_feature @ states.T / 0.07).softmax(dim=-1)[:, 1]
    total = torch.zeros(len(images), detector.image_size, detector.image_size, device=images.device)
    for layer in layers:
        similar = (F.normalize(layer[:, 1:], dim=-1) @ states.T / 0.07).softmax(dim=-1)
        grids = similar.mT.unflatten(2, (vision.grid, vision.grid))
        maps = F.interpolate(grids, detector.image_size, mode="bilinear", align_corners=False)
        total += (maps[:, 1] + 1 - maps[:, 0]) / 2
    means = (total / len(layers)).cpu().numpy()
    smooth = [torch.from_numpy(gaussian_filter(mean, sigma=detector.sigma)) for mean in means]
    return score, torch.stack(smooth)[:, None].to(images.device)


def _projected(visual: Any, tokens: Tensor) -> Tensor:
    """Into the space of the texts, where a tower has another one."""
    return tokens if visual.proj is None else tokens @ visual.proj


def _block(block: Any, tokens: Tensor, local: Tensor, two_paths: bool) -> tuple[Tensor, Tensor]:
    attention = block.attn
    batch, count, width = tokens.shape
    heads = attention.num_heads
    packed = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = packed.reshape(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scale = (width // heads) ** -0.5
    original = ((q @ k.mT) * scale).softmax(dim=-1)
    if two_paths:
        similar = ((v @ v.mT) * scale).softmax(dim=-1)
        mixed = (similar @ v).transpose(1, 2).reshape(batch, count, width)
        local = block.ls_1(attention.out_proj(mixed)) + local
    mixed = (original @ v).transpose(1, 2).reshape(batch, count, width)
    tokens = block.ls_1(attention.out_proj(mixed)) + tokens
    tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return tokens, local if two_paths else tokens
