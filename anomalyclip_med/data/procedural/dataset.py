"""The generator as a data set of PyTorch."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from anomalyclip_med.data.procedural.generation import LEAST_SIZE, generate
from anomalyclip_med.data.procedural.settings import DEFAULTS, Settings
from anomalyclip_med.errors import ConfigurationError


class Item(TypedDict):
    """One item: image (3, S, S) float32 in [0, 1], mask (1, S, S) float32 of 0 and 1, label 0 or 1."""

    image: Tensor
    mask: Tensor
    label: int


def item_seed(seed: int, index: int) -> int:
    """Seed of item ``index`` of the data set with ``seed``: 64 bits that depend on both and on nothing else."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])


class ProceduralDataset(Dataset[Item]):
    """Endless pictures, of which ``length`` are one epoch; item i depends on (seed, i) only.

    Args:
        length: items.
        seed: of the set, non-negative.
        size: side of the pictures in pixels.
        settings: what is drawn and how often.

    Raises:
        ConfigurationError: length, seed or size make no sense.

    Examples:
        >>> item = ProceduralDataset(length=10, seed=0, size=64)[3]
        >>> tuple(item["image"].shape), tuple(item["mask"].shape)
        ((3, 64, 64), (1, 64, 64))
    """

    def __init__(self, length: int, seed: int = 0, size: int = 224, settings: Settings = DEFAULTS) -> None:
        if length < 1 or seed < 0 or size < LEAST_SIZE:
            raise ConfigurationError(
                f"length {length}, seed {seed}, size {size}: at least 1, 0 and {LEAST_SIZE} are needed"
            )
        self.length = length
        self.seed = seed
        self.size = size
        self.settings = settings

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < self.length:
            raise IndexError(f"item {index} of {self.length}")
        sample = generate(item_seed(self.seed, index), self.size, self.settings)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1))),
            "mask": torch.from_numpy(sample.mask[None].astype(np.float32)),
            "label": sample.label,
        }
