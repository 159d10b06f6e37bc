"""The global and the local loss, and VAND's."""

from anomalyclip_med.losses.anomalyclip import (
    AnomalyCLIPLoss,
    LossTerms,
    Targets,
    dice_loss,
    focal_loss,
    global_loss,
    local_loss,
)
from anomalyclip_med.losses.training import training_loss
from anomalyclip_med.losses.vand import VANDLoss

__all__ = [
    "AnomalyCLIPLoss",
    "LossTerms",
    "Targets",
    "VANDLoss",
    "dice_loss",
    "focal_loss",
    "global_loss",
    "local_loss",
    "training_loss",
]
