"""Text features of a normal and an abnormal state as the mean over many sentences."""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.backbones import Backbone
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.text import TextTower, tokenize

NORMAL_STATES = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
"""WinCLIP's seven, which VAND took over."""


def text_tower_of(backbone: Backbone, method: str) -> open_clip.CLIP:
    """The CLIP of a backbone that a method reads texts with.

    Raises:
        ConfigurationError: the backbone has no text tower.
    """
    if backbone.clip is None:
        raise ConfigurationError(
            f"{method} compares images with sentences, but the backbone {backbone.name} has no text tower: name a CLIP "
            "such as ViT-L-14-336/openai, or offline-text, whose text tower is untrained"
        )
    return backbone.clip


class PromptEnsemble(nn.Module):
    """Every template filled with every wording of a state, encoded by CLIP's frozen text tower.

    Args:
        clip: whose text tower reads them.
        states: wordings of the normal and of the abnormal state, with ``{}`` for the class name.
        templates: sentences with ``{}`` for the state.
        normalize: whether each sentence's feature is L2-normalised before the mean, as CLIP's own ensembles are.
    """

    def __init__(
        self,
        clip: open_clip.CLIP,
        states: tuple[Sequence[str], Sequence[str]],
        templates: Sequence[str],
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.states = states
        self.templates = templates
        self.normalize = normalize
        self.tower = TextTower(clip)
        self.vocabulary = clip.token_embedding

    def sentences(self, state: int, class_name: str) -> list[str]:
        """All sentences of the normal (0) or the abnormal (1) state of a class."""
        words = [wording.replace("{}", class_name) for wording in self.states[state]]
        return [template.replace("{}", text) for text in words for template in self.templates]

    @torch.no_grad()
    def forward(self, class_names: Sequence[str]) -> Tensor:
        """Text features (K, 2, E) of K classes, L2-normalised."""
        means = [self._mean(self.sentences(state, name)) for name in class_names for state in (0, 1)]
        return F.normalize(torch.stack(means), dim=-1).unflatten(0, (-1, 2))

    def _mean(self, sentences: list[str]) -> Tensor:
        tokens, end = (t.to(self.vocabulary.weight.device) for t in tokenize(sentences, self.tower.positions))
        features = self.tower(self.vocabulary(tokens), end)
        return (F.normalize(features, dim=-1) if self.normalize else features).mean(dim=0)
