"""CLIP's vision transformer with DPAM, the side path that keeps local features local.

AnomalyCLIP (arXiv 2310.18961), section 3.3 and appendix: CLIP's query-key attention mixes global context into
every patch token, which blurs an anomaly map. DPAM leaves the original path untouched and lets a second path
run beside the last blocks, in which each token attends to tokens with a similar *value* (V-V attention) and no
MLP follows. Image features come from the original path, patch features from the side path.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError


class DPAMAttention(StrEnum):
    """Which projection attends to itself in the side path; ``OFF`` takes patch features from the original path."""

    VV = "vv"
    QQ = "qq"
    KK = "kk"
    OFF = "off"


def resize_positional_embedding(embedding: Tensor, grid: int, interpolation: str) -> Tensor:
    """Resize a ViT's positional embedding to a ``grid`` x ``grid`` patch layout, without antialiasing.

    The authors' code is bilinear for CLIP, DINOv2's is bicubic; open_clip's own resize is bicubic with antialiasing and
    gives other numbers.

    Args:
        embedding: (1 + G * G, D), class token first.
        grid: patches along each side of the new layout.
        interpolation: ``bilinear`` or ``bicubic``.

    Returns:
        (1 + grid * grid, D).
    """
    patches = embedding.shape[0] - 1
    old = round(patches**0.5)
    if old * old != patches:
        raise ConfigurationError(f"the positional embedding holds {patches} patches, which is not a square")
    if old == grid:
        return embedding
    layout = embedding[1:].T.reshape(1, -1, old, old)
    resized = F.interpolate(layout, size=(grid, grid), mode=interpolation, align_corners=False)
    return torch.cat([embedding[:1], resized.flatten(2)[0].T])


def dpam_blocks(dpam_layers: int | Sequence[int], depth: int) -> range:
    """Block numbers, counting from 1, that run the side path.

    Args:
        dpam_layers: how many of the last blocks, or the (first, last) block.
        depth: number of blocks of the transformer.
    """
    first, last = (depth - dpam_layers + 1, depth) if isinstance(dpam_layers, int) else tuple(dpam_layers)
    if not 1 <= first <= last <= depth:
        raise ConfigurationError(
            f"dpam_layers={dpam_layers!r} does not fit a transformer of {depth} blocks: give the number of last "
            f"blocks (1 to {depth}) or a (first, last) pair; dpam='off' switches the side path off"
        )
    return range(first, last + 1)


class DPAMVisionTransformer(nn.Module):
    """A frozen open_clip ``VisionTransformer`` run with the DPAM side path.

    Args:
        visual: open_clip's vision tower; its modules are used in place, nothing is copied.
        image_size: side S of the square input in pixels, a multiple of the patch size.
        feature_layers: blocks, counting from 1, whose patch tokens are returned, in the order of the blocks.
        dpam_layers: number of last blocks with a side path, or a (first, last) pair of block numbers.
        dpam: what attends to itself in the side path.
        interpolation: of the positional embedding, ``bilinear`` (CLIP) or ``bicubic`` (DINOv2).

    Raises:
        ConfigurationError: an option does not fit the tower.
    """

    positional_embedding: Tensor

    def __init__(
        self,
        visual: VisionTransformer,
        image_size: int,
        feature_layers: Sequence[int] = (6, 12, 18, 24),
        dpam_layers: int | Sequence[int] = 19,
        dpam: DPAMAttention | str = DPAMAttention.VV,
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        depth = len(visual.transformer.resblocks)
        patch = visual.patch_size[0]
        if image_size <= 0 or image_size % patch:
            below = max(image_size // patch, 1) * patch
            raise ConfigurationError(
                f"image_size={image_size} is not a multiple of the patch size {patch}: use {below} or {below + patch}"
            )
        self.feature_layers = tuple(sorted(set(feature_layers)))
        if not self.feature_layers or not all(1 <= layer <= depth for layer in self.feature_layers):
            raise ConfigurationError(
                f"feature_layers={list(self.feature_layers)} does not fit a transformer of {depth} blocks: "
                f"give block numbers from 1 to {depth}"
            )
        try:
            self.dpam = DPAMAttention(dpam)
        except ValueError:
            choices = ", ".join(DPAMAttention)
            raise ConfigurationError(f"dpam={dpam!r} is unknown: choose one of {choices}") from None
        self.dpam_blocks = range(0) if self.dpam is DPAMAttention.OFF else dpam_blocks(dpam_layers, depth)
        self.image_size = image_size
        self.grid = image_size // patch
        self.visual = visual
        self.register_buffer(
            "positional_embedding",
            resize_positional_embedding(visual.positional_embedding.detach(), self.grid, interpolation),
        )

    @property
    def embed_dim(self) -> int:
        """Width E of the image and patch features."""
        projection = self.visual.proj
        return int(self.visual.class_embedding.shape[0] if projection is None else projection.shape[1])

    def _project(self, tokens: Tensor) -> Tensor:
        """Into the space shared with the text tower, where there is one."""
        return tokens if self.visual.proj is None else tokens @ self.visual.proj

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode images; never keeps activations for gradients, as the tower is frozen.

        Args:
            images: (B, 3, S, S) float, normalised with the tower's mean and standard deviation.

        Returns:
            The class token of the original path after the last block, projected, without ``ln_post``: (B, E);
            and for each feature layer the tokens after ``ln_post`` and projection, class token first:
            (B, 1 + P, E). Neither is L2-normalised.
        """
        visual = self.visual
        if not torch.jit.is_tracing():  # a trace would record the check as a constant, with a warning
            self._check_shape(images)
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        class_token = visual.class_embedding.expand(patches.shape[0], 1, -1)
        tokens = visual.ln_pre(torch.cat([class_token, patches], dim=1) + self.positional_embedding)
        local = tokens
        features = []
        for number, block in enumerate(visual.transformer.resblocks, start=1):
            if number in self.dpam_blocks:
                tokens, local = self._dual_path(block, tokens, local)
            else:
                past_side_path = len(self.dpam_blocks) > 0 and number > self.dpam_blocks[-1]
                tokens = block(tokens)
                local = local if past_side_path else tokens
            if number in self.feature_layers:
                features.append(self._project(visual.ln_post(local)))
        return self._project(tokens[:, 0]), features

    def _check_shape(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or tuple(images.shape[2:]) != (self.image_size,) * 2:
            raise ConfigurationError(
                f"expected images of shape (B, 3, {self.image_size}, {self.image_size}), got {tuple(images.shape)}"
            )

    def _dual_path(self, block: ResidualAttentionBlock, tokens: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """One block on the original path, its self-similar attention added to the side path."""
        attention = block.attn
        heads = attention.num_heads
        projected = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
        # (B, N, 3 D) -> three of (B, heads, N, D / heads)
        q, k, v = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        similar = {DPAMAttention.VV: v, DPAMAttention.QQ: q, DPAMAttention.KK: k}[self.dpam]

        def attend(query: Tensor, key: Tensor) -> Tensor:
            mixed = F.scaled_dot_product_attention(query, key, v).transpose(1, 2).flatten(2)
            return block.ls_1(attention.out_proj(mixed))

        local = local + attend(similar, similar)
        tokens = tokens + attend(q, k)
        return tokens + block.ls_2(block.mlp(block.ln_2(tokens))), local
