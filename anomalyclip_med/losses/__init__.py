"""The global and the local loss."""

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
from anomalyclip_med.networks.detector import TrainingOutput

__all__ = [
    "LOCAL_WEIGHT",
    "AnomalyCLIPLoss",
    "LossTerms",
    "Targets",
    "TrainingOutput",
    "dice_loss",
    "focal_loss",
    "global_loss",
    "local_loss",
]
