"""From patch similarities to a smooth anomaly map, as one linear map per image axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError

TEMPERATURE = 0.07
"""Of every softmax over (normal, abnormal); the paper's, not CLIP's learned logit scale."""


def state_log_odds(features: Tensor, text_features: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Log-odds of each abnormal state against the normal one; they are linear in the features.

    Args:
        features: (B, ..., E), L2-normalised.
        text_features: (1 + A, E), the normal state and A abnormal ones, mostly one, L2-normalised; or (B, 1 + A, E),
            states for each image.
        temperature: of the softmax over the similarities.

    Returns:
        (B, ..., A), in [-2 / temperature, 2 / temperature].
    """
    # Differences of the states, where logits would take one product more.
    differences = (text_features[..., 1:, :] - text_features[..., :1, :]).mT / temperature
    if differences.ndim == 2:
        return features @ differences
    return (features.reshape(len(features), -1, features.shape[-1]) @ differences).reshape(*features.shape[:-1], -1)


def abnormal_log_odds(features: Tensor, text_features: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Log-odds of abnormal: their sigmoid is the sum of the abnormal entries of the softmax over the similarities.

    Args:
        features: (B, ..., E), L2-normalised.
        text_features: (1 + A, E) or (B, 1 + A, E), see :func:`state_log_odds`.
        temperature: of the softmax.

    Returns:
        (B, ...).
    """
    return state_log_odds(features, text_features, temperature).logsumexp(dim=-1)


def state_logits(features: Tensor, text_features: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Two logits whose softmax is the normal entry, and the sum of the abnormal ones, of that over the similarities.

    Args:
        features: (B, E), L2-normalised.
        text_features: (1 + A, E) or (B, 1 + A, E), see :func:`state_log_odds`.
        temperature: that the similarities are divided by.

    Returns:
        (B, 2); with one abnormal state the similarities themselves, over the temperature.
    """
    logits = (features[:, None] * text_features).sum(dim=-1) / temperature
    return torch.stack([logits[:, 0], logits[:, 1:].logsumexp(dim=-1)], dim=-1)


class Upsampling(nn.Module):
    """Bilinear upsampling of patch values to pixels, and a Gaussian: both are linear, and one matrix per image axis.

    Args:
        grids: G, patches along each side, of the images that there are.
        size: S, pixels along each side of the maps.
        sigma: of the Gaussian in pixels; 0 for none.
        align_corners: as in PyTorch's ``interpolate``.

    Raises:
        ConfigurationError: sigma is negative, or larger than the maps.
    """

    def __init__(self, grids: Sequence[int], size: int, sigma: float = 0.0, align_corners: bool = False) -> None:
        super().__init__()
        if not 0 <= sigma <= size:  # of a stranger's file it may be NaN, or ask for a kernel of gigabytes
            raise ConfigurationError(f"sigma={sigma} must not be negative, nor above the {size} pixels of the image")
        self.grids = tuple(grids)
        smooth = smoothing_matrix(size, sigma)
        for grid in self.grids:
            matrix = smooth @ upsampling_matrix(grid, size, align_corners)
            self.register_buffer(f"matrix_{grid}", matrix, persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """Patch values (..., G, G) as maps (..., S, S)."""
        # Of one grid it is known: a trace would record the choice with a warning.
        grid = self.grids[0] if len(self.grids) == 1 else int(patches.shape[-1])
        matrix = self.get_buffer(f"matrix_{grid}")
        return matrix @ patches @ matrix.T


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
