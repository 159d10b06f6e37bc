"""Patch features of a few normal images, and how far a patch is from the nearest of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOST_PATCHES = 16384
"""Remembered per layer; of more, as many are drawn: 64 images of 256 patches, or 12 of 1369."""


class PatchMemory(nn.Module):
    """Nearest-neighbour distances to normal patches, layer by layer (WinCLIP+, arXiv 2303.14814; VAND, 2305.17382).

    Args:
        patches: (layers, N, E) of normal images, L2-normalised.
    """

    patches: Tensor

    def __init__(self, patches: Tensor) -> None:
        super().__init__()
        if patches.shape[1] > MOST_PATCHES:
            drawn = torch.randperm(patches.shape[1], generator=torch.Generator().manual_seed(0))[:MOST_PATCHES]
            patches = patches[:, drawn.to(patches.device)]
        self.register_buffer("patches", patches.contiguous(), persistent=False)

    def distances(self, patches: Tensor) -> Tensor:
        """One minus the cosine similarity to the most similar normal patch of the layer, averaged over layers.

        Args:
            patches: (B, layers, P, E), L2-normalised.

        Returns:
            (B, P) in [0, 1]; 1 also for what is less than orthogonal to all.
        """
        # One image and layer at a time: all similarities at once would take gigabytes.
        nearest = [
            torch.stack([(found @ known.T).amax(dim=1) for found, known in zip(image, self.patches, strict=True)])
            for image in patches
        ]
        return (1 - torch.stack(nearest)).clamp(0, 1).mean(dim=1)
