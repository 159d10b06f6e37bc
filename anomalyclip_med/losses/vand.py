"""The loss of VAND (arXiv 2305.17382), with the authors' constants."""

from __future__ import annotations

from torch import Tensor, nn

from anomalyclip_med.losses.anomalyclip import Targets, dice_loss, focal_loss
from anomalyclip_med.networks.detector import TrainingOutput


class VANDLoss(nn.Module):
    """Focal and Dice loss of the abnormal map, summed over layers.

    An image whose anomaly is not marked adds nothing; the loss stays a mean over the whole batch.
    """

    def forward(self, output: TrainingOutput, targets: Targets) -> Tensor:
        """Scalar, mean over the batch."""
        assert output.layer_maps is not None
        known = targets.known
        # Nothing but a graph: a batch without any marked image still has a gradient, of zero.
        loss = 0 * output.layer_maps.sum()
        if bool(known.any()):
            masks = targets.masks[known]
            of_layers = [focal_loss(maps, masks) + dice_loss(maps, masks) for maps in output.layer_maps[:, known]]
            loss = loss + known.float().mean() * sum(of_layers)
        return loss
