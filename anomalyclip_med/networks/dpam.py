"""CLIP's vision transformer with DPAM, the side path that keeps local features local.

AnomalyCLIP (arXiv 2310.18961), section 3.3 and appendix: CLIP's query-key attention mixes global context into
every patch token, which blurs an anomaly map. DPAM leaves the original path untouched and lets a second path
run beside the last blocks, in which each token attends to tokens with a similar *value* (V-V attention) and no
MLP follows. Image features come from the original path, patch features from the side path.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.background import body_patches, spread_tokens
from anomalyclip_med.networks.blocks import DPAMAttention, run_block
from anomalyclip_med.networks.vision import VisionTower


def dpam_blocks(dpam_layers: int | Sequence[int], depth: int) -> range:
    """Block numbers, counting from 1, that run the side path.

    Args:
        dpam_layers: how many of the last blocks, or the (first, last) block.
        depth: number of blocks of the transformer.

    Raises:
        ConfigurationError: they are not blocks of the transformer.
    """
    pair = (depth - dpam_layers + 1, depth) if isinstance(dpam_layers, int) else tuple(dpam_layers)
    if len(pair) != 2 or not all(isinstance(n, int) for n in pair) or not 1 <= pair[0] <= pair[1] <= depth:
        raise ConfigurationError(
            f"dpam_layers={dpam_layers!r} does not fit a transformer of {depth} blocks: give the number of last "
            f"blocks (1 to {depth}) or a (first, last) pair; dpam='off' switches the side path off"
        )
    return range(pair[0], pair[1] + 1)


class DPAMVisionTransformer(VisionTower):
    """A frozen open_clip ``VisionTransformer`` run with the DPAM side path.

    Args:
        visual: open_clip's vision tower; its modules are used in place, nothing is copied.
        image_size: side S of the square input in pixels, a multiple of the patch size; None for the tower's own.
        feature_layers: blocks whose patch tokens are returned, see :meth:`VisionTower.blocks`.
        dpam_layers: number of last blocks with a side path, or a (first, last) pair of block numbers; None for all from
            the first quarter's last block on: 19 of 24.
        dpam: what attends to itself in the side path.
        interpolation: of the positional embedding, ``bilinear`` (CLIP) or ``bicubic`` (DINOv2).
        antialias: whether that antialiases.

    Raises:
        ConfigurationError: an option does not fit the tower.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        image_size: int | None,
        feature_layers: Sequence[int] | None = None,
        dpam_layers: int | Sequence[int] | None = None,
        dpam: DPAMAttention | str = DPAMAttention.VV,
        interpolation: str = "bilinear",
        antialias: bool = False,
    ) -> None:
        super().__init__(visual, image_size, interpolation, antialias)
        self.feature_layers = self.blocks(feature_layers)
        if dpam_layers is None:
            dpam_layers = self.depth - self.quarters()[0] + 1
        self.dpam = DPAMAttention(dpam)
        self.dpam_blocks = range(0) if self.dpam is DPAMAttention.OFF else dpam_blocks(dpam_layers, self.depth)

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
        class_token, layers = self.run_blocks(images)
        return self.project(class_token), [self.project(self.visual.ln_post(local)) for local in layers]

    def run_blocks(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run both paths.

        Returns:
            The original path's class token (B, D) as it leaves the last block, and the side path's tokens
            (B, 1 + P, D) as they leave each feature layer.
        """
        tokens = self.embed(images)
        if self.dark_below is None:
            return self._run_tokens(tokens)
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            raise ConfigurationError("skip_background: each image has its own patches, which no export can hold")
        background, kept = body_patches(images, self.dark_below, self.patch)
        if kept.all():
            return self._run_tokens(tokens)
        # Images of one length at a time: attention would need a mask, and a product a scale, for each of several.
        counts = kept.sum(dim=1)
        class_tokens = tokens.new_empty(len(tokens), tokens.shape[-1])
        layers = [torch.empty_like(tokens) for _ in self.feature_layers]
        for count in counts.unique():
            rows = (counts == count).nonzero()[:, 0]
            chosen = F.pad(kept[rows], (1, 0), value=True)
            class_tokens[rows], found = self._run_tokens(tokens[rows][chosen].unflatten(0, (len(rows), -1)))
            for layer, local in zip(layers, found, strict=True):
                layer[rows] = spread_tokens(local, background[rows], kept[rows])
        return class_tokens, layers

    def _run_tokens(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The same from the tokens (B, N, D) that enter the first block."""
        side: Tensor | None = None
        layers = []
        for number, block in enumerate(self.visual.transformer.resblocks, start=1):
            beside = number in self.dpam_blocks
            if beside and side is None:
                side = tokens
            # Behind the last block, only a layer of the original path needs more of it than the class token.
            class_only = number == self.depth and (side is not None or number not in self.feature_layers)
            if beside:
                tokens, side = run_block(block, tokens, side, self.dpam, class_only)
            else:
                tokens, _ = run_block(block, tokens, class_only=class_only)
            if number in self.feature_layers:
                layers.append(tokens if side is None else side)
        return tokens[:, 0], layers
