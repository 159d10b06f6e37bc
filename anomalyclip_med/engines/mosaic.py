"""Four training images as one, as VAND's training has it for a share of its images (arXiv 2305.17382)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def draw_mosaics(classes: Sequence[str], share: float, seed: int) -> dict[int, list[int]]:
    """Choose images in whose place a mosaic of four of their class stands.

    The same ones in all epochs, where VAND draws new ones, so that the features of the frozen network can be kept.

    Args:
        classes: of all images.
        share: of the images, in [0, 1].
        seed: of the choice.

    Returns:
        The places of the four, one of which may occur twice, by that of the image.
    """
    generator = torch.Generator().manual_seed(seed)
    replaced = torch.rand(len(classes), generator=generator) < share
    found = {}
    for place in replaced.nonzero().flatten().tolist():
        members = [i for i, name in enumerate(classes) if name == classes[place]]
        chosen = torch.randint(len(members), (4,), generator=generator).tolist()
        found[place] = [members[i] for i in chosen]
    return found


def tile(parts: Sequence[Tensor], nearest: bool = False) -> Tensor:
    """Put four images (C, S, S), each at half its size, into two rows of two.

    Args:
        parts: the images.
        nearest: whether to take the nearest pixels, as of masks, rather than to filter.
    """
    size = parts[0].shape[-1]
    sides = (size // 2, size - size // 2)

    def shrink(part: Tensor, shape: tuple[int, int]) -> Tensor:
        if nearest:
            return F.interpolate(part[None].float(), shape, mode="nearest-exact")[0].to(part.dtype)
        return F.interpolate(part[None], shape, mode="bilinear", antialias=True)[0]

    rows = [
        torch.cat([shrink(part, (height, width)) for part, width in zip(parts[2 * row :], sides, strict=False)], dim=2)
        for row, height in enumerate(sides)
    ]
    return torch.cat(rows, dim=1)
