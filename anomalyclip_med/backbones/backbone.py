"""What the networks are built on: a frozen vision tower, with or without a text tower."""

from __future__ import annotations

from dataclasses import dataclass, replace

import open_clip
from open_clip.transformer import VisionTransformer
from torch import Tensor

from anomalyclip_med.backbones.activation import Activation
from anomalyclip_med.backbones.precision import Precision, reduce_precision


@dataclass(frozen=True)
class Backbone:
    """A frozen backbone and where it came from.

    Attributes:
        visual: The vision tower, in evaluation mode, no parameter requires a gradient.
        clip: The CLIP that it belongs to, for its text tower; None for a tower that has none.
        name: "ARCHITECTURE/TAG", the file's name without its folder, "offline", "offline-text" or "untrained".
        activation: Of its MLPs, which not every weights file tells.
        sha256: Of the weights file; of the tensors where there is no file, and of both where there is a part of each.
        trained: False for random weights, also those of the text tower alone.
        warnings: What was assumed or must be known, each beginning with a stable name and a colon.
        image_mean: Per-channel mean of the images in [0, 1] that the tower expects subtracted.
        image_std: Per-channel standard deviation to divide by.
        interpolation: How its positional embedding is resized, "bilinear" or "bicubic".
        precision: Of the products of the vision tower's blocks.
        states: Text features (1 + states, E) of a text tower that is not here, normal first, L2-normalised.
    """

    visual: VisionTransformer
    clip: open_clip.CLIP | None
    name: str
    activation: Activation
    sha256: str
    trained: bool
    warnings: tuple[str, ...]
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    interpolation: str
    precision: Precision = Precision.FLOAT32
    states: Tensor | None = None

    def in_precision(self, precision: Precision | str) -> Backbone:
        """The same with the products of the vision tower's blocks, which are exchanged in place, in fewer bits.

        Raises:
            ConfigurationError: the precision is unknown.
        """
        precision = Precision(precision)
        if precision is not Precision.FLOAT32:
            reduce_precision(self.visual, precision)
        return replace(self, precision=precision)
