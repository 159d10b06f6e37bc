"""AnomalyCLIP: a frozen CLIP with two learned prompts scores an image and every pixel of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.backbones import Backbone
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.dpam import DPAMAttention, DPAMVisionTransformer
from anomalyclip_med.networks.embeddings import StateEmbeddings
from anomalyclip_med.networks.maps import abnormal_log_odds, smoothing_matrix, upsampling_matrix
from anomalyclip_med.networks.prompts import PromptConfig, PromptLearner


class DetectorOutput(NamedTuple):
    """What every detector returns.

    Attributes:
        score: (B,) image scores in [0, 1]; higher is more anomalous.
        anomaly_map: (B, 1, S, S) pixel scores in [0, 1].
    """

    score: Tensor
    anomaly_map: Tensor


def _forget_prompt_file(detector: AnomalyCLIP, _: Any) -> None:
    """The prompts of a whole network's state dict are no longer those of the file that was read before."""
    detector.prompts_name = detector.prompts_sha256 = None


class ScoreSource(StrEnum):
    """What the image score is made of: the class token's similarities (the paper's), the map, or the mean of both.

    The map's score is taken before upsampling and smoothing, which would dilute a small lesion, from the log-odds of
    the most abnormal patches, averaged over layers and patches: near 1, probabilities hardly differ from each other.
    """

    CLASS_TOKEN = "class_token"
    MAP = "map"
    BOTH = "both"


class AnomalyCLIP(nn.Module):
    """Zero-shot anomaly detector (Zhou et al., ICLR 2024, arXiv 2310.18961).

    Only the prompts train. Text features are computed once in eval mode and again only when the prompts change. On a
    backbone without a text tower, two embeddings are learned in place of its features.

    Args:
        backbone: the frozen towers.
        image_size: side S of the square input in pixels.
        feature_layers: vision blocks, counting from 1, whose patch features make the map; their maps are averaged.
            None for four at equal distances: 6, 12, 18, 24 of 24.
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
    """

    upsample: Tensor
    upsample_smooth: Tensor
    _text_features: Tensor | None

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
    ) -> None:
        super().__init__()
        if sigma < 0:
            raise ConfigurationError(f"sigma={sigma} must not be negative")
        if not 0 < top_fraction <= 1:
            raise ConfigurationError(f"top_fraction={top_fraction} must lie above 0 and not above 1")
        if not neighbourhood or not all(side > 0 and side % 2 for side in neighbourhood):
            raise ConfigurationError(f"neighbourhood={list(neighbourhood)} must hold odd numbers of patches")
        if score is None:
            score = ScoreSource.MAP if backbone.clip is None else ScoreSource.CLASS_TOKEN
        elif score not in set(ScoreSource):
            raise ConfigurationError(f"score={score!r} is unknown: choose one of {', '.join(ScoreSource)}")
        depth = len(backbone.visual.transformer.resblocks)
        if feature_layers is None:
            feature_layers = [max(1, depth * quarter // 4) for quarter in (1, 2, 3, 4)]
        if dpam_layers is None:
            dpam_layers = depth - max(1, depth // 4) + 1
        self.sigma = sigma
        self.score = ScoreSource(score)
        self.top_fraction = top_fraction
        self.neighbourhood = tuple(neighbourhood)
        self.backbone_name = backbone.name
        self.backbone_sha256 = backbone.sha256
        self.backbone_trained = backbone.trained
        self.image_mean = backbone.image_mean
        self.image_std = backbone.image_std
        self.prompts_name: str | None = None
        self.prompts_sha256: str | None = None
        self.prompts_trained = False
        self.register_load_state_dict_post_hook(_forget_prompt_file)
        self.warnings = list(backbone.warnings)
        self.vision = DPAMVisionTransformer(
            backbone.visual, image_size, feature_layers, dpam_layers, dpam, backbone.interpolation
        )
        self.prompt_learner: PromptLearner | StateEmbeddings
        if backbone.clip is not None:
            self.prompt_learner = PromptLearner(backbone.clip, prompt_config, seed)
        elif prompt_config is None:
            self.prompt_learner = StateEmbeddings(self.vision.embed_dim, seed)
        else:
            raise ConfigurationError(f"{backbone.name} has no text tower: it takes no prompt words")
        upsample = upsampling_matrix(self.vision.grid, image_size)
        self.register_buffer("upsample", upsample, persistent=False)
        self.register_buffer("upsample_smooth", smoothing_matrix(image_size, sigma) @ upsample, persistent=False)
        self.register_buffer("_text_features", None, persistent=False)
        self._text_features_of: tuple[tuple[int, int], ...] = ()
        super().train(False)

    @property
    def image_size(self) -> int:
        """Side S of the square input in pixels."""
        return self.vision.image_size

    @property
    def trained(self) -> bool:
        """Whether both the backbone and the prompts have been trained."""
        return self.backbone_trained and self.prompts_trained

    @property
    def text_features(self) -> Tensor:
        """(2, E): the normal and the abnormal text feature, L2-normalised.

        Differentiable in training mode; cached and without gradient in eval mode.
        """
        if self.training:
            return self.prompt_learner()
        if self._text_features is not None and (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            return self._text_features  # a constant of the exported graph; eval() has brought it up to date
        # The version counter of a tensor rises with each change in place: an optimiser's step, a loaded checkpoint.
        # A tensor made in inference mode has none and cannot be changed.
        prompts = self.prompt_learner.learned().values()
        state = tuple((id(p), 0 if p.is_inference() else p._version) for p in prompts)
        if self._text_features is None or state != self._text_features_of:
            with torch.no_grad():
                self._text_features, self._text_features_of = self.prompt_learner(), state
        return self._text_features

    def train(self, mode: bool = True) -> AnomalyCLIP:
        """Switch to training or eval mode; eval mode computes the text features if the prompts have changed."""
        super().train(mode)
        if not mode:
            _ = self.text_features
        return self

    def encode_image(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode normalised images.

        Args:
            images: (B, 3, S, S) float, normalised with ``image_mean`` and ``image_std``.

        Returns:
            Image features (B, E), L2-normalised, and for each feature layer the patch features (B, 1 + P, E),
            class token first, not normalised.
        """
        class_feature, patch_features = self.vision(images)
        return F.normalize(class_feature, dim=-1), patch_features

    def patch_log_odds(self, patch_features: Sequence[Tensor], text_features: Tensor) -> Tensor:
        """Log-odds of abnormal of every patch.

        Args:
            patch_features: one (B, 1 + P, E) per layer.
            text_features: (2, E).

        Returns:
            (layers, neighbourhoods, B, G, G), G * G = P.
        """
        layers = []
        for features in patch_features:
            tokens = F.normalize(features[:, 1:], dim=-1).transpose(1, 2).unflatten(2, (self.vision.grid, -1))
            sides = [
                abnormal_log_odds(
                    # At the border the average is over the patches that there are.
                    F.avg_pool2d(tokens, side, 1, side // 2, count_include_pad=False).permute(0, 2, 3, 1),
                    text_features,
                )
                for side in self.neighbourhood
            ]
            layers.append(torch.stack(sides))
        return torch.stack(layers)

    def layer_maps(self, images: Tensor) -> Tensor:
        """Unsmoothed abnormal maps of each feature layer, (layers, B, S, S) in [0, 1].

        The normal map is one minus this: both come from one softmax, and upsampling is linear.
        """
        return self.upsampled_maps(self.encode_image(images)[1])

    def upsampled_maps(self, patch_features: Sequence[Tensor]) -> Tensor:
        """The same from patch features, one (B, 1 + P, E) per layer."""
        patches = self.patch_log_odds(patch_features, self.text_features).sigmoid().mean(dim=1)
        return self.upsample @ patches @ self.upsample.T

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
        }

    def describe(self) -> dict[str, Any]:
        """Weights and settings as plain values, for a result's provenance."""
        config = self.prompt_learner.config
        return {
            "method": "AnomalyCLIP",
            "clip": self.backbone_name,
            "clip_sha256": self.backbone_sha256,
            "clip_trained": self.backbone_trained,
            "prompts": self.prompts_name,
            "prompts_sha256": self.prompts_sha256,
            "prompts_trained": self.prompts_trained,
            "prompt_config": None if config is None else config.to_dict(),
            **self.settings(),
        }

    def forward(self, images: Tensor) -> DetectorOutput:
        """Score normalised images (B, 3, S, S)."""
        return self.score_features(*self.encode_image(images))

    def score_features(self, image_features: Tensor, patch_features: Sequence[Tensor]) -> DetectorOutput:
        """Score what :meth:`encode_image` returned."""
        text_features = self.text_features
        log_odds = self.patch_log_odds(patch_features, text_features)
        # The mean over layers, bilinear upsampling and the Gaussian are all linear: fold them into one
        # matrix per axis and never hold a full-size map per layer.
        patches = log_odds.sigmoid().mean(dim=(0, 1))
        anomaly_map = self.upsample_smooth @ patches @ self.upsample_smooth.T
        anomaly_map = anomaly_map.clamp(0, 1)
        scores = []
        if self.score is not ScoreSource.MAP:
            scores.append(abnormal_log_odds(image_features, text_features).sigmoid())
        if self.score is not ScoreSource.CLASS_TOKEN:
            highest = max(1, round(self.top_fraction * self.vision.grid**2))
            scores.append(log_odds[:, 0].mean(dim=0).flatten(1).topk(highest, dim=1).values.mean(dim=1).sigmoid())
        return DetectorOutput(torch.stack(scores).mean(dim=0), anomaly_map[:, None])
