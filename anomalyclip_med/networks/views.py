"""What of an image is seen: in several ways, whose maps and scores are averaged, with or without its background."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import torch.nn.functional as F
from torch import Tensor

from anomalyclip_med.errors import ConfigurationError

Features = dict[str, Tensor]
"""What the frozen vision tower makes of images: named tensors, batch first."""
LARGEST = 4096
"""Side of an image in pixels: a file of prompts may record any, and memory grows with its square."""


class View(NamedTuple):
    """One way to see an image.

    Attributes:
        size: side that it is resized to, in pixels; None for its own.
        mirrored: whether left and right are exchanged.
    """

    size: int | None
    mirrored: bool

    @property
    def name(self) -> str:
        """What its features are named by; "" for the image as it is."""
        parts = [str(self.size)] if self.size else []
        return "/".join([*parts, "mirrored"] if self.mirrored else parts)

    def of_images(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) as this view shows them."""
        if self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True)
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
        scales: factors by which the image is resized, to the nearest multiple of the patch size, beside its own size,
            which is 1 and need not be among them.
        skip_background: whether patches of the black around the body are left out, see :mod:`.background`.

    Raises:
        ConfigurationError: a scale is no positive number.

    Examples:
        >>> from anomalyclip_med.networks import Views
        >>> for view in Views(flip=True, scales=[1.5]).of(518, patch=14):
        ...     print(view)
        View(size=None, mirrored=False)
        View(size=None, mirrored=True)
        View(size=784, mirrored=False)
        View(size=784, mirrored=True)
    """

    flip: bool = False
    scales: Sequence[float] = ()
    skip_background: bool = False

    def __post_init__(self) -> None:
        if not all(isinstance(scale, int | float) and 0 < scale < math.inf for scale in self.scales):
            raise ConfigurationError(f"scales={self.scales!r} must be positive numbers")
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales if scale != 1))

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Self:
        """Those that a detector's options name, which are taken out of them."""
        return cls(**{name: options.pop(name) for name in VIEW_OPTIONS if name in options})

    def of(self, image_size: int, patch: int) -> tuple[View, ...]:
        """All of them; the first is the image as it is.

        Args:
            image_size: side of the image in pixels.
            patch: side of a patch in pixels.

        Raises:
            ConfigurationError: two scales come to the same size, or one to none or to more than `LARGEST`.
        """
        if any(image_size * scale > LARGEST for scale in self.scales):
            raise ConfigurationError(f"scales={list(self.scales)} of {image_size} pixels exceed the limit of {LARGEST}")
        sizes = [round(image_size * scale / patch) * patch for scale in self.scales]
        if len({0, image_size, *sizes}) != len(sizes) + 2:
            raise ConfigurationError(
                f"scales={list(self.scales)}: in whole patches of {patch}, {image_size} pixels become {sizes}, which "
                "must differ from each other, from 0 and from the image's own size"
            )
        mirrored = (False, True) if self.flip else (False,)
        return tuple(View(size, mirror) for size in (None, *sizes) for mirror in mirrored)

    def settings(self) -> dict[str, Any]:
        """What differs from the image as it is alone, as plain values."""
        chosen = {"flip": self.flip, "scales": list(self.scales), "skip_background": self.skip_background}
        return {name: value for name, value in chosen.items() if value}


VIEW_OPTIONS = tuple(field.name for field in fields(Views))
"""Options of every detector that say which views it scores."""
