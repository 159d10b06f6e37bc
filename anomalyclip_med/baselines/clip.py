"""CLIP with two prompts, and with an ensemble of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import open_clip
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.backbones import Backbone
from anomalyclip_med.baselines.ensemble import PromptEnsemble, text_tower_of
from anomalyclip_med.baselines.vision import PlainVisionTower
from anomalyclip_med.networks.blocks import DPAMAttention
from anomalyclip_med.networks.detector import Detector, DetectorOutput
from anomalyclip_med.networks.maps import Upsampling, abnormal_log_odds
from anomalyclip_med.networks.views import Features, Views


class PatchwiseCLIP(Detector):
    """An unmodified CLIP whose image feature, and whose last block's patches, are compared with two texts.

    As AnomalyCLIP's paper extends CLIP, CLIP-AC and CoOp to maps: patches after the last block, through CLIP's own
    ``ln_post`` and projection, softmax at temperature 0.07, bilinear upsampling, Gaussian.

    Args:
        backbone: the frozen towers.
        texts: from K class names to text features (K, 2, E).
        image_size: side S of the square input in pixels; None for the size that the tower was trained at.
        sigma: of the map's Gaussian, in pixels of the model's input; 0 for none.
        class_name: what the texts name where an image's own class is not known.
        dpam: what attends to itself in a side path that the patches are taken from in place of CLIP's own, with as many
            blocks as in AnomalyCLIP; the paper's ablation of DPAM alone. The image feature stays CLIP's.
        views: of an image whose maps and scores are averaged.

    Raises:
        ConfigurationError: an option does not fit the backbone.
    """

    default_clip = "ViT-L-14-336/openai"

    vision: PlainVisionTower

    def __init__(
        self,
        backbone: Backbone,
        texts: nn.Module,
        image_size: int | None,
        sigma: float,
        class_name: str,
        dpam: DPAMAttention | str = DPAMAttention.OFF,
        views: Views | None = None,
    ) -> None:
        vision = PlainVisionTower(backbone.visual, image_size, [-1], dpam)
        super().__init__(backbone, vision, class_name, object_aware=True, views=views)
        self.texts = texts
        self.sigma = sigma
        self.feature_layers = vision.feature_layers
        self.upsample_smooth = Upsampling(self.grids, self.image_size, sigma)

    def encode_view(self, images: Tensor) -> Features:
        """Encode one view of normalised images (B, 3, S, S).

        Returns:
            ``image_features`` (B, E) and ``patch_features`` (B, P, E), both L2-normalised.
        """
        image_features, tokens = self.vision(images)
        patch_features = self.vision.project(self.vision.visual.ln_post(tokens[:, 0])).detach()
        return {
            "image_features": F.normalize(image_features, dim=-1),
            "patch_features": F.normalize(patch_features, dim=-1),
        }

    def encode_text(self, class_names: Sequence[str]) -> Tensor:
        """Text features (K, 2, E) of K classes, L2-normalised."""
        features: Tensor = self.texts(class_names)
        return features

    def score_view(self, features: Features, text_features: Tensor) -> DetectorOutput:
        """Score what :meth:`encode_view` returned."""
        patches = abnormal_log_odds(features["patch_features"], text_features).sigmoid()
        grid = self.vision.grid_of(patches.shape[1])
        anomaly_map = self.upsample_smooth(patches.unflatten(1, (grid, -1)))
        score = abnormal_log_odds(features["image_features"], text_features).sigmoid()
        return DetectorOutput(score, anomaly_map.clamp(0, 1)[:, None])

    def image_side(self) -> dict[str, Any]:
        """All that the features depend on beside the images."""
        return {**super().image_side(), "encoder": "clip", "image_size": self.image_size, **self._switches()}

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain values."""
        values = {"image_size": self.image_size, "sigma": self.sigma, "class_name": self.class_name}
        return {**values, **self._switches()}

    def _switches(self) -> dict[str, Any]:
        dpam = {} if self.vision.dpam is DPAMAttention.OFF else {"dpam": str(self.vision.dpam)}
        return {**dpam, **self.views.settings()}


class CLIP(PatchwiseCLIP):
    """CLIP (Radford et al., arXiv 2103.00020) with "a photo of a normal" and "a photo of an anomalous" class name.

    Args:
        backbone: the frozen towers.
        image_size: side S of the square input in pixels; None for the size that the tower was trained at.
        sigma: of the map's Gaussian, in pixels of the model's input; 0 for none.
        class_name: what the texts name where an image's own class is not known.
        dpam: ``vv``, ``qq`` or ``kk`` for the map from the patches of a DPAM side path, see :class:`PatchwiseCLIP`.
        views: of an image whose maps and scores are averaged.

    Raises:
        ConfigurationError: the backbone has no text tower, or an option does not fit it.
    """

    method = "CLIP"
    states: ClassVar[tuple[Sequence[str], Sequence[str]]] = (
        ("a photo of a normal {}.",),
        ("a photo of an anomalous {}.",),
    )
    templates: ClassVar[Sequence[str]] = ("{}",)

    def __init__(
        self,
        backbone: Backbone,
        image_size: int | None = None,
        sigma: float = 4.0,
        class_name: str = "object",
        dpam: DPAMAttention | str = DPAMAttention.OFF,
        views: Views | None = None,
    ) -> None:
        texts = PromptEnsemble(text_tower_of(backbone, self.method), self.states, self.templates)
        super().__init__(backbone, texts, image_size, sigma, class_name, dpam, views)


class CLIPAC(CLIP):
    """CLIP-AC: the same two states, each the mean over CLIP's 80 ImageNet templates."""

    method = "CLIP-AC"
    states = (("normal {}",), ("anomalous {}",))
    templates = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
