"""CoOp in its anomaly form: one learned context before "normal" and "anomalous" and the class name."""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.backbones import Backbone
from anomalyclip_med.baselines.clip import PatchwiseCLIP
from anomalyclip_med.baselines.ensemble import text_tower_of
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.detector import TrainingOutput
from anomalyclip_med.networks.maps import state_logits
from anomalyclip_med.networks.text import TextTower, tokenize
from anomalyclip_med.networks.views import Features, Views

_STATES = ("normal", "anomalous")


class ContextLearner(nn.Module):
    """``[V1]...[VM] normal brain.`` and ``[V1]...[VM] anomalous brain.``: M learned vectors that both share.

    Args:
        clip: whose frozen text tower reads them.
        context_length: M.
        seed: of their random start (normal, standard deviation 0.02).

    Raises:
        ConfigurationError: there is no learned vector.
    """

    def __init__(self, clip: open_clip.CLIP, context_length: int, seed: int) -> None:
        super().__init__()
        if context_length < 1:
            raise ConfigurationError(f"context_length={context_length} must be at least 1")
        self.tower = TextTower(clip)
        self.vocabulary = clip.token_embedding
        generator = torch.Generator().manual_seed(seed)
        self.ctx = nn.Parameter(torch.randn(context_length, self.tower.width, generator=generator) * 0.02)

    def forward(self, class_names: Sequence[str]) -> Tensor:
        """Text features (K, 2, E) of K classes, L2-normalised."""
        # "X" holds the place of each learned vector while the words are tokenized.
        places = " ".join(["X"] * len(self.ctx))
        sentences = [f"{places} {state} {name}." for name in class_names for state in _STATES]
        tokens, end = (t.to(self.ctx.device) for t in tokenize(sentences, self.tower.positions))
        words = self.vocabulary(tokens)
        context = self.ctx.expand(len(words), -1, -1)
        words = torch.cat([words[:, :1], context, words[:, 1 + len(self.ctx) :]], dim=1)
        return F.normalize(self.tower(words, end), dim=-1).unflatten(0, (-1, 2))


class CoOp(PatchwiseCLIP):
    """CoOp (Zhou et al., arXiv 2109.01134) for anomalies, as AnomalyCLIP's paper adapts it.

    Only the context vectors train, by the global loss.

    Args:
        backbone: the frozen towers.
        image_size: side S of the square input in pixels; None for the size that the tower was trained at.
        sigma: of the map's Gaussian, in pixels of the model's input; 0 for none.
        class_name: what the texts name where an image's own class is not known.
        context_length: M, learned vectors; 16 in CoOp's own examples.
        seed: of their random start.
        views: of an image whose maps and scores are averaged.

    Raises:
        ConfigurationError: the backbone has no text tower, or an option does not fit it.
    """

    method = "CoOp"
    losses = ("global",)

    texts: ContextLearner

    def __init__(
        self,
        backbone: Backbone,
        image_size: int | None = None,
        sigma: float = 4.0,
        class_name: str = "object",
        context_length: int = 16,
        seed: int = 0,
        views: Views | None = None,
    ) -> None:
        texts = ContextLearner(text_tower_of(backbone, self.method), context_length, seed)
        super().__init__(backbone, texts, image_size, sigma, class_name, views=views)

    def learned(self) -> dict[str, Tensor]:
        """The context vectors."""
        return {"ctx": self.texts.ctx}

    def text_learned(self) -> dict[str, Tensor]:
        """The same."""
        return self.learned()

    def training_output(
        self,
        features: Features,
        class_names: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        maps: bool = True,
    ) -> TrainingOutput:
        """What the loss takes: never a map."""
        text_features = self.text_features_of(class_names)
        return TrainingOutput(state_logits(features["image_features"], text_features), None)
