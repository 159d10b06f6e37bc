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
        features: (B, ..., E), L2-normalised.
        text_features: (2, E), normal first, L2-normalised; or (B, 2, E), a pair for each image.
        temperature: that they are divided by.

    Returns:
        (B, ..., 2).
    """
    if text_features.ndim == 2:
        return features @ text_features.T / temperature
    return _of_images(features, text_features.mT) / temperature


def abnormal_log_odds(features: Tensor, text_features: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Log-odds of abnormal: their sigmoid is the abnormal entry of the softmax over the two similarities.

    They are linear in the features.

    Args:
        features: (B, ..., E), L2-normalised.
        text_features: (2, E), normal first, L2-normalised; or (B, 2, E), a pair for each image.
        temperature: of the softmax.

    Returns:
        (B, ...), in [-2 / temperature, 2 / temperature].
    """
    # One product, with the difference of the states, where two logits would take two.
    difference = (text_features[..., 1, :] - text_features[..., 0, :]) / temperature
    if difference.ndim == 1:
        return features @ difference
    return _of_images(features, difference[..., None])[..., 0]


def _of_images(features: Tensor, columns: Tensor) -> Tensor:
    """Products of features (B, ..., E) with each image's own columns (B, E, N): (B, ..., N)."""
    return (features.reshape(len(features), -1, features.shape[-1]) @ columns).reshape(*features.shape[:-1], -1)


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
