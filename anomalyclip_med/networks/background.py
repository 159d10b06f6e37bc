"""The black around the body: which patches of an image are nothing else, and what stands in their place.

Air in CT and MR, and the frame of ultrasound and endoscopy, take a large part of a picture and of the transformer's
time. Patches that are dark throughout and connected with the picture's border through such patches are background; what
is dark inside the body, such as lungs in an abdomen window, is not. Background next to the body is kept, both to see
the body's edge and to know what background looks like: its mean stands in for the rest.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_propagation, distance_transform_cdt
from torch import Tensor

DARK = 0.05
"""Share of the window up to which a pixel is dark, in all channels; as of slices that count as empty."""
MARGIN = 1
"""Patches of background that are kept around everything else."""
WORTHWHILE = 0.1
"""Share of an image's patches; where fewer could be left out, none is: that would save no time."""
STEP = 1 / 16
"""Share of an image's patches, in multiples of which they are kept, those next to the margin first: of neighbouring
slices equally many, which can be computed together."""


def body_patches(images: Tensor, dark_below: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Which patches are background, and which are to be kept all the same.

    Args:
        images: (B, 3, S, S).
        dark_below: (3, 1, 1), value of each channel up to which it is dark.
        patch: side of a patch in pixels.

    Returns:
        Two masks (B, P), row by row: the background; and what is kept, of an image that is background throughout or
        has hardly any all.
    """
    bright = (images > dark_below).any(dim=1, keepdim=True)
    dark = F.max_pool2d(bright.float(), patch)[:, 0] == 0
    found = [_body(of_image) for of_image in dark.cpu().numpy()]
    background, kept = (torch.from_numpy(np.stack(masks)).to(images.device) for masks in zip(*found, strict=True))
    return background, kept


def _body(dark: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    border = np.ones(dark.shape, dtype=bool)
    border[1:-1, 1:-1] = False
    background = binary_propagation(dark & border, np.ones((3, 3)), dark).ravel()
    if background.all():
        return background, background
    distance = distance_transform_cdt(background.reshape(dark.shape), "chessboard").ravel()
    step = math.ceil(STEP * dark.size)
    count = math.ceil(np.count_nonzero(distance <= MARGIN) / step) * step
    kept = np.ones_like(background)
    if count <= (1 - WORTHWHILE) * dark.size:
        kept[np.argsort(distance, kind="stable")[count:]] = False
    return background, kept


def spread_tokens(tokens: Tensor, background: Tensor, kept: Tensor) -> Tensor:
    """All tokens of images of which only the class token and N kept patches each were computed.

    Args:
        tokens: (B, 1 + N, D).
        background: (B, P) from :func:`body_patches`.
        kept: likewise.

    Returns:
        (B, 1 + P, D), with the mean of an image's kept background in place of what was not kept.
    """
    known = tokens[:, 1:]
    empty = background[kept].view(known.shape[:2])[..., None]
    mean = (known * empty).sum(dim=1, keepdim=True) / empty.sum(dim=1, keepdim=True)
    patches = mean.repeat(1, kept.shape[1], 1)
    patches[kept] = known.flatten(0, 1)
    return torch.cat([tokens[:, :1], patches], dim=1)
