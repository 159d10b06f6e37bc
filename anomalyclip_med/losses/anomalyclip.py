"""The global and the local loss of AnomalyCLIP (arXiv 2310.18961, section 3.4), with the authors' constants."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.detector import TrainingOutput

LOCAL_WEIGHT = 4.0
"""Of the local loss against the global one in the authors' training."""

_FOCAL_SMOOTHING = 1e-5
_DICE_SMOOTHING = 1.0


def global_loss(image_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the image's similarities to the normal and the abnormal state.

    Args:
        image_logits: (B, 2), the similarities over the temperature, normal first.
        labels: (B,) integer, 0 normal and 1 anomalous.

    Returns:
        Scalar, mean over the batch.

    Examples:
        >>> import torch
        >>> from anomalyclip_med.losses import global_loss
        >>> undecided = torch.zeros(3, 2)
        >>> global_loss(undecided, torch.tensor([0, 1, 1]))  # ln 2
        tensor(0.6931)
    """
    return F.cross_entropy(image_logits, labels)


def local_loss(layer_maps: Tensor, masks: Tensor) -> Tensor:
    """Focal and Dice loss of the abnormal and the normal map, summed over layers.

    Args:
        layer_maps: (layers, B, H, W) abnormal probabilities in [0, 1]; the normal map is one minus them.
        masks: (B, H, W), 1 where anomalous and 0 elsewhere.

    Returns:
        Scalar, mean over the batch.

    Examples:
        >>> import torch
        >>> from anomalyclip_med.losses import local_loss
        >>> masks = torch.zeros(2, 8, 8)
        >>> masks[0, :4] = 1
        >>> right, undecided = masks[None], torch.full((1, 2, 8, 8), 0.5)
        >>> local_loss(right, masks), local_loss(undecided, masks)
        (tensor(0.), tensor(1.3154))
        >>> local_loss(torch.cat([undecided, undecided]), masks)  # of two layers
        tensor(2.6308)
    """
    # Both Dice losses from their own sums: the complement's, by subtraction, would lose all digits of a small area.
    dice = dice_loss(layer_maps, masks) + dice_loss(1 - layer_maps, 1 - masks)
    return len(layer_maps) * (focal_loss(layer_maps, masks) + dice)


def focal_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Binary focal loss (Lin et al., ICCV 2017) on probabilities, gamma 2, no alpha, mean over all elements.

    The target is smoothed by 1e-5 and as much is added to the probability of the right class, as the authors' code does
    it: a saturated pixel then costs a little and never infinitely much. MONAI's ``FocalLoss`` has neither.

    Args:
        probabilities: of the positive class, any shape, in [0, 1].
        targets: 0 or 1, of a shape that broadcasts to the same.

    Returns:
        Scalar.

    Examples:
        >>> import torch
        >>> from anomalyclip_med.losses import focal_loss
        >>> anomalous = torch.ones(1)
        >>> [round(focal_loss(torch.tensor([p]), anomalous).item(), 4) for p in (0.0, 0.5, 0.9)]
        [10.8187, 0.1733, 0.0011]
    """
    target = targets.clamp(_FOCAL_SMOOTHING, 1 - _FOCAL_SMOOTHING)
    sign = 2 * target - 1
    # target * p + (1 - target) * (1 - p) + smoothing
    right = torch.addcmul(1 - target + _FOCAL_SMOOTHING, probabilities.detach(), sign)
    wrong, log = 1 - right, right.log()
    value = -(wrong.square() * log).mean()
    slope = (wrong / right).sub_(log, alpha=2).mul_(wrong).mul_(-sign / right.numel())
    loss: Tensor = _WithSlope.apply(probabilities, value, slope)
    return loss


class _WithSlope(torch.autograd.Function):
    """A scalar whose derivative is known: half the passes over all pixels that autograd takes."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * gradient, None, None


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft Dice coefficient of each image, smoothed by 1, mean over images.

    Args:
        probabilities: (..., H, W) in [0, 1].
        targets: (..., H, W), 0 or 1.

    Returns:
        Scalar.

    Examples:
        >>> import torch
        >>> from anomalyclip_med.losses import dice_loss
        >>> lower = torch.zeros(1, 4, 4)
        >>> lower[:, 2:] = 1
        >>> dice_loss(lower, lower), dice_loss(1 - lower, lower)  # 1 - 1/17
        (tensor(0.), tensor(0.9412))
    """
    overlap = (probabilities * targets).sum(dim=(-2, -1))
    total = probabilities.sum(dim=(-2, -1)) + targets.sum(dim=(-2, -1))
    return 1 - ((2 * overlap + _DICE_SMOOTHING) / (total + _DICE_SMOOTHING)).mean()


class LossTerms(StrEnum):
    """Which losses train the prompts."""

    BOTH = "both"
    GLOBAL = "global"
    LOCAL = "local"

    @classmethod
    def _missing_(cls, value: object) -> LossTerms:
        raise ConfigurationError(f"loss={value!r} is unknown: choose one of {', '.join(cls)}")


class Targets(NamedTuple):
    """What is known of a batch.

    Attributes:
        labels: (B,) integer, 0 normal and 1 anomalous.
        masks: (B, H, W), 1 where anomalous and 0 elsewhere.
        known: (B,) bool, whether the mask tells where the anomaly is: false for an anomalous image without a mask.
    """

    labels: Tensor
    masks: Tensor
    known: Tensor


class AnomalyCLIPLoss(nn.Module):
    """The global loss and `LOCAL_WEIGHT` times the local one, or one of them alone (the paper's ablation).

    An image whose anomaly is not marked adds to the global loss only; the local one stays a mean over the whole batch,
    so that it does not matter how a batch is divided.

    Args:
        terms: which losses.

    Raises:
        ConfigurationError: there is no such loss.

    Examples:
        >>> import torch
        >>> from anomalyclip_med.losses import AnomalyCLIPLoss, Targets
        >>> from anomalyclip_med.networks import TrainingOutput
        >>> undecided = TrainingOutput(image_logits=torch.zeros(2, 2), layer_maps=torch.full((1, 2, 8, 8), 0.5))
        >>> masks = torch.zeros(2, 8, 8)
        >>> masks[0, :4] = 1
        >>> marked = Targets(torch.tensor([1, 0]), masks, known=torch.tensor([True, True]))
        >>> AnomalyCLIPLoss()(undecided, marked)  # 0.6931 + 4 * 1.3154
        tensor(5.9547)
        >>> AnomalyCLIPLoss()(undecided, marked._replace(known=torch.tensor([False, False])))
        tensor(0.6931)
    """

    def __init__(self, terms: LossTerms | str = LossTerms.BOTH) -> None:
        super().__init__()
        self.terms = LossTerms(terms)

    def forward(self, output: TrainingOutput, targets: Targets) -> Tensor:
        """Scalar, mean over the batch."""
        # Nothing but a graph: a batch without any marked image still has a gradient, of zero.
        loss = 0 * output.image_logits.sum()
        if self.terms is not LossTerms.LOCAL:
            loss = loss + global_loss(output.image_logits, targets.labels)
        known = targets.known
        if self.terms is not LossTerms.GLOBAL and bool(known.any()):
            assert output.layer_maps is not None
            every = bool(known.all())  # a selection is a copy of all maps
            maps = output.layer_maps if every else output.layer_maps[:, known]
            local = local_loss(maps, targets.masks if every else targets.masks[known])
            loss = loss + LOCAL_WEIGHT * known.float().mean() * local
        return loss
