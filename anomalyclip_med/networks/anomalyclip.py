"""AnomalyCLIP: a frozen CLIP with two learned prompts scores an image and every pixel of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.backbones import Backbone
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.blocks import DPAMAttention
from anomalyclip_med.networks.detector import Detector, DetectorOutput, TrainingOutput
from anomalyclip_med.networks.dpam import DPAMVisionTransformer
from anomalyclip_med.networks.embeddings import FrozenStates, StateEmbeddings
from anomalyclip_med.networks.maps import (
    Upsampling,
    abnormal_log_odds,
    state_log_odds,
    state_logits,
)
from anomalyclip_med.networks.prompts import PromptConfig, PromptLearner
from anomalyclip_med.networks.views import Features, Views

_SHORTEST = 1e-6
"""Length of an average of unit vectors that counts as none; not zero in half precision either."""


class ScoreSource(StrEnum):
    """What the image score is made of: the class token's similarities (the paper's), the map, or the mean of both.

    The map's score is taken before upsampling and smoothing, which would dilute a small lesion, from the log-odds of
    the most abnormal patches, averaged over layers and patches: near 1, probabilities hardly differ from each other.
    """

    CLASS_TOKEN = "class_token"
    MAP = "map"
    BOTH = "both"

    @classmethod
    def _missing_(cls, value: object) -> ScoreSource:
        raise ConfigurationError(f"score={value!r} is unknown: choose one of {', '.join(cls)}")


class AnomalyCLIP(Detector):
    """Zero-shot anomaly detector (Zhou et al., ICLR 2024, arXiv 2310.18961).

    Only the prompts train. Text features are computed once in evaluation mode and again only when the prompts change.
    On a backbone without a text tower, two embeddings are learned in place of its features.

    Args:
        backbone: the frozen towers.
        image_size: side S of the square input in pixels.
        feature_layers: vision blocks, counting from 1 or, below 0, from the end, whose patch features make the map;
            their maps are averaged. None for four at equal distances: 6, 12, 18, 24 of 24.
        dpam_layers: number of last vision blocks with the DPAM path, or a (first, last) pair of block numbers. None
            for all from the first quarter's last block on: 19 of 24.
        dpam: which projection attends to itself in the DPAM path.
        sigma: of the map's Gaussian, in pixels of the model's input; 0 for none.
        score: what the image score is made of; None for the class token with a text tower and the map without one,
            whose class token has never been aligned with anything.
        top_fraction: share of the patches, the most abnormal ones, that make the map's score.
        neighbourhood: odd sides, in patches, of the squares over which patch features are averaged before they are
            compared with the states; the maps of several are averaged. (1,) is the paper's. The first makes the map's
            score.
        prompt_config: shape and words of the prompts; only with a text tower.
        seed: of the prompts' random start.
        views: of an image whose maps and scores are averaged.

    Raises:
        ConfigurationError: an option does not fit the backbone.
    """

    method = "AnomalyCLIP"
    losses: tuple[str, ...] = ("both", "global", "local")
    default_clip = "offline"

    vision: DPAMVisionTransformer

    def __init__(
        self,
        backbone: Backbone,
        image_size: int = 518,
        feature_layers: Sequence[int] | None = None,
        dpam_layers: int | Sequence[int] | None = None,
        dpam: DPAMAttention | str = DPAMAttention.VV,
        sigma: float = 4.0,
        score: ScoreSource | str | None = None,
        top_fraction: float = 0.01,
        neighbourhood: Sequence[int] = (1,),
        prompt_config: PromptConfig | None = None,
        seed: int = 0,
        views: Views | None = None,
    ) -> None:
        if not 0 < top_fraction <= 1:
            raise ConfigurationError(f"top_fraction={top_fraction} must lie above 0 and not above 1")
        if not neighbourhood or not all(isinstance(n, int) and n > 0 and n % 2 for n in neighbourhood):
            raise ConfigurationError(f"neighbourhood={list(neighbourhood)} must hold odd numbers of patches")
        if score is None:
            score = ScoreSource.MAP if backbone.clip is None else ScoreSource.CLASS_TOKEN
        learner: PromptLearner | StateEmbeddings | FrozenStates
        vision = DPAMVisionTransformer(
            backbone.visual, image_size, feature_layers, dpam_layers, dpam, backbone.interpolation
        )
        if backbone.states is not None:
            learner = FrozenStates(backbone.states, prompt_config)
        elif backbone.clip is not None:
            learner = PromptLearner(backbone.clip, prompt_config, seed)
        elif prompt_config is None:
            learner = StateEmbeddings(vision.embed_dim, seed)
        else:
            raise ConfigurationError(f"{backbone.name} has no text tower: it takes no prompt words")
        config = learner.config
        super().__init__(
            backbone,
            vision,
            class_name=config.class_name if config else "object",
            object_aware=bool(config and config.object_aware),
            views=views,
        )
        self.prompt_learner = learner
        self.feature_layers = vision.feature_layers
        self.sigma = sigma
        self.score = ScoreSource(score)
        self.top_fraction = top_fraction
        self.neighbourhood = tuple(neighbourhood)
        if backbone.states is not None:
            self.losses = ()
        elif backbone.clip is None:
            self.losses = ("local", "both", "global")  # its class token has never been aligned with anything
        self.upsample = Upsampling(self.grids, image_size)
        self.upsample_smooth = Upsampling(self.grids, image_size, sigma)
        nn.Module.train(self, False)  # without text features yet: prompts may still be loaded

    def learned(self) -> dict[str, Tensor]:
        """The prompts, or the two embeddings, by the names that checkpoints use."""
        return self.prompt_learner.learned()

    def text_learned(self) -> dict[str, Tensor]:
        """All of them."""
        return self.learned()

    @property
    def trained_layers(self) -> tuple[int, ...]:
        """The last, as the authors train; without a text tower all."""
        return self.feature_layers[-1:] if self.prompt_learner.config else self.feature_layers

    def encode_text(self, class_names: Sequence[str]) -> Tensor:
        """Text features (K, 1 + states, E), L2-normalised; of one class where the prompts are object-agnostic."""
        return self.prompt_learner(class_names) if self.object_aware else self.prompt_learner()

    def encode_view(self, images: Tensor) -> Features:
        """Encode one view of normalised images (B, 3, S, S).

        Returns:
            ``image_features`` (B, E) and ``patch_features`` (B, layers, P, E), both L2-normalised; and where patch
            features are averaged over neighbourhoods, ``neighbourhood_lengths`` (B, layers, sides, P) of the averages,
            in [0, 1].
        """
        class_feature, layers = self.vision(images)
        patch_features = torch.stack([F.normalize(tokens[:, 1:], dim=-1) for tokens in layers], dim=1)
        features = {"image_features": F.normalize(class_feature, dim=-1), "patch_features": patch_features}
        if self.neighbourhood != (1,):
            channels = patch_features.mT  # averages take as much room as the features: one layer at a time
            lengths = [
                torch.stack([self._average(layer, side).norm(dim=1) for side in self.neighbourhood], dim=1)
                for layer in channels.unbind(dim=1)
            ]
            features["neighbourhood_lengths"] = torch.stack(lengths, dim=1).clamp_min(_SHORTEST)
        return features

    def _average(self, values: Tensor, side: int) -> Tensor:
        """Mean of (..., P) over each patch's neighbourhood; at the border, over the patches that there are."""
        if side == 1:
            return values
        grid = self.vision.grid_of(values.shape[-1])
        grids = values.reshape(-1, grid, grid)
        return F.avg_pool2d(grids, side, 1, side // 2, count_include_pad=False).reshape(values.shape)

    def patch_log_odds(self, features: Features, text_features: Tensor) -> Tensor:
        """Log-odds of abnormal of every patch.

        Args:
            features: from :meth:`encode_image`.
            text_features: (1 + states, E) or (B, 1 + states, E), normal first.

        Returns:
            (layers, neighbourhoods, B, G, G), G * G = P.
        """
        of_states = state_log_odds(features["patch_features"], text_features).mT  # (B, layers, states, P)
        # Those of an average are the average log-odds, but for its length.
        sides = torch.stack([self._average(of_states, side) for side in self.neighbourhood], dim=2)
        if "neighbourhood_lengths" in features:
            sides = sides / features["neighbourhood_lengths"][:, :, :, None]
        grid = self.vision.grid_of(sides.shape[-1])
        return sides.logsumexp(dim=3).permute(1, 2, 0, 3).unflatten(3, (grid, -1))

    def layer_maps(self, features: Features, text_features: Tensor) -> Tensor:
        """Unsmoothed abnormal maps of each feature layer, (layers, B, S, S) in [0, 1].

        The normal map is one minus this: both come from one softmax, and upsampling is linear.

        Args:
            features: from :meth:`encode_image`.
            text_features: (1 + states, E) or (B, 1 + states, E), normal first.
        """
        patches = self.patch_log_odds(features, text_features).sigmoid().mean(dim=1)
        maps: Tensor = self.upsample(patches)
        return maps

    def training_output(
        self,
        features: Features,
        class_names: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        maps: bool = True,
    ) -> TrainingOutput:
        """What the loss takes."""
        text_features = self.text_features_of(class_names)
        if layers is None:
            layers = self.trained_layers
        chosen = features
        if maps and tuple(layers) != self.feature_layers:  # a selection is a copy
            rows = [self.feature_layers.index(layer) for layer in layers]
            names = ("patch_features", "neighbourhood_lengths")
            chosen = {name: features[name][:, rows] for name in names if name in features}
        return TrainingOutput(
            state_logits(features["image_features"], text_features),
            self.layer_maps(chosen, text_features) if maps else None,
        )

    def image_side(self) -> dict[str, Any]:
        """All that the features depend on beside the images."""
        settings = self.settings()
        names = ["image_size", "feature_layers", "dpam", "dpam_layers"]
        if self.neighbourhood != (1,):
            names.append("neighbourhood")
        return {**super().image_side(), "encoder": "anomalyclip", **{name: settings[name] for name in names}}

    def settings(self) -> dict[str, Any]:
        """What prompts are learned for, beside the backbone: the constructor's arguments as plain values."""
        blocks = self.vision.dpam_blocks
        return {
            "image_size": self.image_size,
            "feature_layers": list(self.vision.feature_layers),
            "dpam": str(self.vision.dpam),
            "dpam_layers": [blocks[0], blocks[-1]] if blocks else None,
            "sigma": self.sigma,
            "score": str(self.score),
            "top_fraction": self.top_fraction,
            "neighbourhood": list(self.neighbourhood),
            **self.views.settings(),
        }

    def describe(self) -> dict[str, Any]:
        """Weights and settings as plain values, for a result's provenance."""
        config = self.prompt_learner.config
        return {**super().describe(), "prompt_config": None if config is None else asdict(config)}

    def comparable_patches(self, features: Features) -> tuple[Tensor, Upsampling]:
        """The patch features that the texts are compared with, of the DPAM path where there is one."""
        return features["patch_features"], self.upsample_smooth

    def score_view(self, features: Features, text_features: Tensor) -> DetectorOutput:
        """Score what :meth:`encode_view` returned."""
        log_odds = self.patch_log_odds(features, text_features)
        # The mean over layers is linear, too: never hold a full-size map per layer.
        patches = log_odds.sigmoid().mean(dim=(0, 1))
        anomaly_map = self.upsample_smooth(patches).clamp(0, 1)
        scores = []
        if self.score is not ScoreSource.MAP:
            scores.append(abnormal_log_odds(features["image_features"], text_features).sigmoid())
        if self.score is not ScoreSource.CLASS_TOKEN:
            highest = max(1, round(self.top_fraction * self.vision.grid**2))
            scores.append(log_odds[:, 0].mean(dim=0).flatten(1).topk(highest, dim=1).values.mean(dim=1).sigmoid())
        return DetectorOutput(torch.stack(scores).mean(dim=0), anomaly_map[:, None])
