"""One image seen in several ways, whose maps and scores are averaged (test-time augmentation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

Features = dict[str, Tensor]
"""What the frozen vision tower makes of images: named tensors, batch first."""


class View(NamedTuple):
    """One way to see an image.

    Attributes:
        name: what its features are named by; "" for the image as it is.
        mirrored: whether left and right are exchanged.
    """

    name: str
    mirrored: bool

    def of_images(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) as this view shows them."""
        return images.flip(-1) if self.mirrored else images

    def of_maps(self, maps: Tensor) -> Tensor:
        """Maps (B, 1, S, S) of this view, laid on the image as it is."""
        return maps.flip(-1) if self.mirrored else maps

    def named(self, features: Features) -> Features:
        """This view's features, under the names that they have among those of all views."""
        return {f"{self.name}/{name}" if self.name else name: values for name, values in features.items()}

    def chosen(self, features: Features) -> Features:
        """The inverse: this view's features from those of all views."""
        parted = {name: name.rpartition("/") for name in features}
        return {parted[name][2]: values for name, values in features.items() if parted[name][0] == self.name}


@dataclass(frozen=True)
class Views:
    """Which views of an image a detector scores.

    Attributes:
        flip: the mirrored image beside the image as it is.
    """

    flip: bool = False

    def views(self) -> tuple[View, ...]:
        """All of them; the first is the image as it is."""
        return (View("", False), *([View("mirrored", True)] if self.flip else []))

    def settings(self) -> dict[str, Any]:
        """What differs from the image as it is alone, as plain values."""
        return {"flip": True} if self.flip else {}
