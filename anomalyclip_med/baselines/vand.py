"""VAND, also known as APRIL-GAN: patch tokens of four blocks, each through a learned linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.backbones import Backbone
from anomalyclip_med.baselines.ensemble import NORMAL_STATES, PromptEnsemble, text_tower_of
from anomalyclip_med.baselines.vision import PlainVisionTower
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.detector import Detector, DetectorOutput, TrainingOutput
from anomalyclip_med.networks.maps import Upsampling, abnormal_log_odds, state_logits
from anomalyclip_med.networks.views import Features, Views

TEMPERATURE = 0.01
"""One over CLIP's logit scale, 100."""

_ABNORMAL = ("damaged {}", "broken {}", "{} with flaw", "{} with defect", "{} with damage")

# The 35 sentences; a mean does not depend on their order.
_KINDS = (
    "bad",
    "low resolution",
    "cropped",
    "bright",
    "dark",
    "close-up",
    "black and white",
    "jpeg corrupted",
    "blurry",
)
_TEMPLATES = (
    *(f"a {kind} photo of {the} {{}}." for kind in (*_KINDS, "good") for the in ("a", "the")),
    *(f"a photo of {the} {size}{{}}." for the in ("a", "the") for size in ("", "cool ", "large ", "small ")),
    *(f"a photo of {which} {{}}." for which in ("my", "one")),
    *(f"there is {the} {{}} in the scene." for the in ("a", "the")),
    *(f"this is {which} {{}} in the scene." for which in ("a", "the", "one")),
)


class VAND(Detector):
    """VAND (Chen et al., arXiv 2305.17382), zero-shot.

    The patch tokens of four blocks, as they leave the block, go through one linear layer each into the space of the
    texts; only these layers train. The image score is that of CLIP's own image feature, which nothing trains. The
    authors' code adds the layers' maps; the mean is the same up to scale and stays in [0, 1].

    Args:
        backbone: the frozen towers.
        image_size: side S of the square input in pixels.
        feature_layers: vision blocks, counting from 1 or, below 0, from the end, that make the map; None for four at
            equal distances.
        class_name: what the texts name where an image's own class is not known.
        seed: of the layers' random start.
        views: of an image whose maps and scores are averaged.

    Raises:
        ConfigurationError: the backbone has no text tower, or an option does not fit it.
    """

    method = "VAND"
    losses = ("local",)
    default_clip = "ViT-L-14-336/openai"

    vision: PlainVisionTower

    def __init__(
        self,
        backbone: Backbone,
        image_size: int = 518,
        feature_layers: Sequence[int] | None = None,
        class_name: str = "object",
        seed: int = 0,
        views: Views | None = None,
    ) -> None:
        texts = PromptEnsemble(text_tower_of(backbone, self.method), (NORMAL_STATES, _ABNORMAL), _TEMPLATES)
        vision = PlainVisionTower(backbone.visual, image_size, feature_layers)
        super().__init__(backbone, vision, class_name, object_aware=True, views=views)
        self.texts = texts
        self.feature_layers = vision.feature_layers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fc = nn.ModuleList(nn.Linear(vision.width, vision.embed_dim) for _ in self.feature_layers)
        self.upsample = Upsampling(self.grids, image_size, align_corners=True)

    def learned(self) -> dict[str, Tensor]:
        """The linear layers, by the names of the authors' files."""
        return {f"fc.{name}": tensor for name, tensor in self.fc.named_parameters()}

    def encode_view(self, images: Tensor) -> Features:
        """Encode one view of normalised images (B, 3, S, S).

        Returns:
            ``image_features`` (B, E), L2-normalised, and ``patch_features`` (B, layers, P, D) as they leave the blocks.
        """
        image_features, tokens = self.vision(images)
        return {"image_features": F.normalize(image_features, dim=-1), "patch_features": tokens}

    def encode_text(self, class_names: Sequence[str]) -> Tensor:
        """Text features (K, 2, E) of K classes, L2-normalised."""
        features: Tensor = self.texts(class_names)
        return features

    def layer_maps(self, patch_features: Tensor, text_features: Tensor) -> Tensor:
        """Abnormal maps of each feature layer, (layers, B, S, S) in [0, 1].

        Args:
            patch_features: (B, layers, P, D).
            text_features: (2, E) or (B, 2, E).
        """
        log_odds = [
            abnormal_log_odds(F.normalize(layer(tokens), dim=-1), text_features, TEMPERATURE)
            for layer, tokens in zip(self.fc, patch_features.unbind(dim=1), strict=True)
        ]
        grid = self.vision.grid_of(patch_features.shape[2])
        # Similarities are upsampled before the softmax here.
        upsampled: Tensor = self.upsample(torch.stack(log_odds).unflatten(2, (grid, -1)))
        return upsampled.sigmoid()

    def comparable_patches(self, features: Features) -> tuple[Tensor, Upsampling]:
        """Patch tokens as they leave the blocks."""
        return F.normalize(features["patch_features"], dim=-1), self.upsample

    def score_view(self, features: Features, text_features: Tensor) -> DetectorOutput:
        """Score what :meth:`encode_view` returned."""
        anomaly_map = self.layer_maps(features["patch_features"], text_features).mean(dim=0)
        score = abnormal_log_odds(features["image_features"], text_features, TEMPERATURE).sigmoid()
        return DetectorOutput(score, anomaly_map[:, None].detach())

    def training_output(
        self,
        features: Features,
        class_names: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        maps: bool = True,
    ) -> TrainingOutput:
        """What the loss takes.

        Raises:
            ConfigurationError: not all layers are to be trained, which would leave random ones in the map.
        """
        if layers is not None and set(layers) != set(self.feature_layers):
            raise ConfigurationError(f"train_layers={list(layers)}: {self.method} trains all its feature layers")
        text_features = self.text_features_of(class_names)
        return TrainingOutput(
            state_logits(features["image_features"], text_features, TEMPERATURE),
            self.layer_maps(features["patch_features"], text_features),
        )

    def image_side(self) -> dict[str, Any]:
        """All that the features depend on beside the images."""
        settings = self.settings()
        names = ("image_size", "feature_layers")
        return {**super().image_side(), "encoder": "vand", **{name: settings[name] for name in names}}

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain values."""
        return {
            "image_size": self.image_size,
            "feature_layers": list(self.feature_layers),
            "class_name": self.class_name,
            **self.views.settings(),
        }
