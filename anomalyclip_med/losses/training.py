"""Which loss trains which method."""

from __future__ import annotations

from torch import nn

from anomalyclip_med.losses.anomalyclip import AnomalyCLIPLoss, LossTerms
from anomalyclip_med.losses.vand import VANDLoss


def training_loss(method: str, terms: LossTerms | str) -> nn.Module:
    """The loss that trains a method.

    Args:
        method: the detector's name, its ``method``.
        terms: which losses; VAND's has but one.

    Returns:
        A module from a :class:`~anomalyclip_med.networks.TrainingOutput` and :class:`~anomalyclip_med.losses.Targets`
        to a scalar.

    Examples:
        >>> from anomalyclip_med.losses import training_loss
        >>> training_loss("AnomalyCLIP", "global").terms
        <LossTerms.GLOBAL: 'global'>
        >>> training_loss("VAND", "local")
        VANDLoss()
    """
    return VANDLoss() if method == "VAND" else AnomalyCLIPLoss(terms)
