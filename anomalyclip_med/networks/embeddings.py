"""What stands in for text features where there is no text tower: two learned embeddings, or kept features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.networks.prompts import PromptConfig


class StateEmbeddings(nn.Module):
    """The normal and the abnormal state, learned directly in the space of the patch features.

    Args:
        width: E, of the vision tower's features.
        seed: of their random start (normal, standard deviation 0.02, as the prompts of a text tower start).
    """

    def __init__(self, width: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.normal = nn.Parameter(torch.randn(width, generator=generator) * 0.02)
        self.abnormal = nn.Parameter(torch.randn(width, generator=generator) * 0.02)

    config = None  # no words, no deep tokens

    def learned(self) -> dict[str, Tensor]:
        """The trained tensors by the names that checkpoints use."""
        return {"normal": self.normal, "abnormal": self.abnormal}

    def forward(self) -> Tensor:
        """Features (1, 2, E) of the normal and the abnormal state, L2-normalised."""
        return F.normalize(torch.stack([self.normal, self.abnormal])[None], dim=-1)


class FrozenStates(nn.Module):
    """Text features as learned prompts or embeddings once gave them; nothing more is learned.

    Args:
        states: (1 + states, E), normal first, L2-normalised.
        config: of the prompts that they come from; None for embeddings.
    """

    states: Tensor

    def __init__(self, states: Tensor, config: PromptConfig | None = None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("states", states)

    def learned(self) -> dict[str, Tensor]:
        """The features."""
        return {"states": self.states}

    def forward(self) -> Tensor:
        """Features (1, 1 + states, E)."""
        return self.states[None]
