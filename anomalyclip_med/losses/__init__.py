"""The global and the local loss, and VAND's."""

from torch import nn

from anomalyclip_med.losses.anomalyclip import (
    LOCAL_WEIGHT,
    AnomalyCLIPLoss,
    LossTerms,
    Targets,
    dice_loss,
    focal_loss,
    global_loss,
    local_loss,
)
from anomalyclip_med.losses.vand import VANDLoss
from anomalyclip_med.networks.detector import TrainingOutput

__all__ = [
    "LOCAL_WEIGHT",
    "AnomalyCLIPLoss",
    "LossTerms",
    "Targets",
    "TrainingOutput",
    "VANDLoss",
    "dice_loss",
    "focal_loss",
    "global_loss",
    "local_loss",
    "training_loss",
]


def training_loss(method: str, terms: LossTerms | str) -> nn.Module:
    """The loss that trains a method.

    Args:
        method: the detector's.
        terms: which losses; VAND's has but one.
    """
    return VANDLoss() if method == "VAND" else AnomalyCLIPLoss(terms)
