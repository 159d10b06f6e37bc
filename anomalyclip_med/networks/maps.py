"""From patch similarities to a smooth anomaly map, as one linear map per image axis."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

TEMPERATURE = 0.07
"""Of every softmax over (normal, abnormal); the paper's, not CLIP's learned logit scale."""


def state_logits(features: Tensor, text_features: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Similarities to the normal and the abnormal state, over the temperature.

    Args:
        features: (B, ..., E), of any length: they are L2-normalised here.
        text_features: (2, E), normal first, L2-normalised; or (B, 2, E), a pair for each image.
        temperature: that they are divided by.

    Returns:
        (B, ..., 2).
    """
    features = F.normalize(features, dim=-1)
    if text_features.ndim == 2:
        return features @ text_features.T / temperature
    of_images = features.reshape(len(features), -1, features.shape[-1]) @ text_features.mT / temperature
    return of_images.reshape(*features.shape[:-1], 2)


def abnormal_log_odds(features: Tensor, text_features: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Log-odds of abnormal: their sigmoid is the abnormal entry of the softmax over the two similarities.

    Args:
        features: (B, ..., E), of any length: they are L2-normalised here.
        text_features: (2, E), normal first, L2-normalised; or (B, 2, E), a pair for each image.
        temperature: of the softmax.

    Returns:
        (B, ...), in [-2 / temperature, 2 / temperature].
    """
    logits = state_logits(features, text_features, temperature)
    return logits[..., 1] - logits[..., 0]


def upsampling_matrix(grid: int, size: int, align_corners: bool = False) -> Tensor:
    """Bilinear upsampling of ``grid`` values to ``size`` values as a (size, grid) matrix."""
    identity = torch.eye(grid)[None]
    return F.interpolate(identity, size=size, mode="linear", align_corners=align_corners)[0].T.contiguous()


def smoothing_matrix(size: int, sigma: float) -> Tensor:
    """Gaussian smoothing with scipy's defaults (truncated at 4 sigma, reflected) as a (size, size) matrix.

    Args:
        size: length of the axis.
        sigma: standard deviation in pixels; 0 for none.
    """
    identity = np.eye(size)
    smooth = gaussian_filter1d(identity, sigma, axis=0) if sigma > 0 else identity
    return torch.from_numpy(smooth).float()
