"""From patch similarities to a smooth anomaly map, as one linear map per image axis."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

TEMPERATURE = 0.07
"""Of every softmax over (normal, abnormal); the paper's, not CLIP's learned logit scale."""


def abnormal_log_odds(features: Tensor, text_features: Tensor) -> Tensor:
    """Log-odds of abnormal: their sigmoid is the abnormal entry of the softmax over the two similarities.

    Args:
        features: (..., E), of any length: they are L2-normalised here.
        text_features: (2, E), normal first, L2-normalised.

    Returns:
        (...), in [-2 / TEMPERATURE, 2 / TEMPERATURE].
    """
    similarity = F.normalize(features, dim=-1) @ text_features.T / TEMPERATURE
    return similarity[..., 1] - similarity[..., 0]


def upsampling_matrix(grid: int, size: int) -> Tensor:
    """Bilinear upsampling (align_corners=False) of ``grid`` values to ``size`` values as a (size, grid) matrix."""
    identity = torch.eye(grid)[None]
    return F.interpolate(identity, size=size, mode="linear", align_corners=False)[0].T.contiguous()


def smoothing_matrix(size: int, sigma: float) -> Tensor:
    """Gaussian smoothing with scipy's defaults (truncated at 4 sigma, reflected) as a (size, size) matrix.

    Args:
        size: length of the axis.
        sigma: standard deviation in pixels; 0 for none.
    """
    identity = np.eye(size)
    smooth = gaussian_filter1d(identity, sigma, axis=0) if sigma > 0 else identity
    return torch.from_numpy(smooth).float()
