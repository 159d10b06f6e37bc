"""CLIP's vision tower as open_clip runs it, with the DPAM side path where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor

from anomalyclip_med.networks.blocks import DPAMAttention
from anomalyclip_med.networks.dpam import DPAMVisionTransformer


class PlainVisionTower(DPAMVisionTransformer):
    """CLIP's own image features, and tokens as they leave the blocks.

    The positional embedding is resized as open_clip does it.

    Args:
        visual: open_clip's vision tower; its modules are used in place, nothing is copied.
        image_size: side S of the square input in pixels, a multiple of the patch size; None for the tower's own.
        feature_layers: blocks whose tokens are returned, see :meth:`VisionTower.blocks`.
        dpam: what attends to itself in the side path that the tokens are taken from; ``off`` for CLIP's own.

    Raises:
        ConfigurationError: an option does not fit the tower.
    """

    def __init__(
        self,
        visual: VisionTransformer,
        image_size: int | None,
        feature_layers: Sequence[int] | None = None,
        dpam: DPAMAttention | str = DPAMAttention.OFF,
    ) -> None:
        super().__init__(visual, image_size, feature_layers, None, dpam, "bicubic", antialias=True)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Encode images (B, 3, S, S).

        Returns:
            CLIP's image features (B, E), not normalised, and the patch tokens after each feature layer as they are,
            (B, layers, P, D).
        """
        class_token, layers = self.run_blocks(images)
        patches = torch.stack([local[:, 1:] for local in layers], dim=1)
        return self.project(self.visual.ln_post(class_token)), patches
