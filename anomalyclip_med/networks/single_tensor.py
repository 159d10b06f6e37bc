"""A detector as MONAI's tools want it: [0, 1] images in, one tensor out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from anomalyclip_med.networks.detector import Detector


class SingleTensorDetector(nn.Module):
    """Wraps a detector so that bundles, exporters, MONAI Label and MONAI Deploy can run it.

    The normalisation with the backbone's mean and standard deviation happens inside, so that an exported file
    needs nothing but RGB in [0, 1].

    Args:
        detector: the detector to wrap.

    Examples:
        >>> import torch
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.networks import SingleTensorDetector
        >>> network = SingleTensorDetector(create_model("untrained", image_size=70))
        >>> rgb = torch.rand(2, 3, 70, 70)
        >>> anomaly_map, score = network(rgb).unbind(dim=1)
        >>> anomaly_map.shape, torch.equal(score[:, 0, 0], score[:, 69, 69])
        (torch.Size([2, 70, 70]), True)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("mean", torch.tensor(detector.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(detector.image_std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, class_names: Sequence[str] | None = None) -> Tensor:
        """Score images.

        Args:
            images: (B, 3, S, S) float, RGB in [0, 1].
            class_names: of the images, for texts that name them; None for the detector's own.

        Returns:
            (B, 2, S, S) in [0, 1]: channel 0 the anomaly map, channel 1 the image score on every pixel.
        """
        # Every operation on a MetaTensor takes a detour through Python: a third of the time on two cores.
        plain = images.as_tensor() if isinstance(images, MetaTensor) else images
        score, anomaly_map = self.detector((plain - self.mean) / self.std, class_names)
        out = torch.cat([anomaly_map, score[:, None, None, None].expand_as(anomaly_map)], dim=1)
        return MetaTensor(out).copy_meta_from(images) if isinstance(images, MetaTensor) else out

    def __prepare_scriptable__(self) -> nn.Module:
        """What ``torch.jit.script`` compiles: a trace, because the text tower's features enter as constants."""
        size = self.detector.image_size
        example = torch.zeros(1, 3, size, size, device=self.mean.device)
        return _Traced(torch.jit.trace(self, example))


class _Traced(nn.Module):
    def __init__(self, traced: Any) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, images: Tensor) -> Tensor:
        return self.traced(images)
