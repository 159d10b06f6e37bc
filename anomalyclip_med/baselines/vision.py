"""CLIP's vision tower as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor

from anomalyclip_med.networks.vision import VisionTower


class PlainVisionTower(VisionTower):
    """CLIP's unmodified vision tower, whose positional embedding is resized as open_clip does it.

    Args:
        visual: open_clip's vision tower; its modules are used in place, nothing is copied.
        image_size: side S of the square input in pixels, a multiple of the patch size; None for the tower's own.
        feature_layers: blocks whose tokens are returned, see :meth:`VisionTower.blocks`.

    Raises:
        ConfigurationError: an option does not fit the tower.
    """

    def __init__(
        self, visual: VisionTransformer, image_size: int | None, feature_layers: Sequence[int] | None = None
    ) -> None:
        super().__init__(visual, image_size, "bicubic", antialias=True)
        self.feature_layers = self.blocks(feature_layers)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (B, 3, S, S).

        Returns:
            CLIP's image features (B, E), not normalised, and the patch tokens after each feature layer as they are,
            (B, layers, P, D).
        """
        x = self.embed(images)
        tokens = []
        for number, block in enumerate(self.visual.transformer.resblocks, start=1):
            x = block(x)
            if number in self.feature_layers:
                tokens.append(x[:, 1:])
        return self.project(self.visual.ln_post(x[:, 0])), torch.stack(tokens, dim=1)
