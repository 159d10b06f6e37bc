"""WinCLIP, zero-shot: windows of an image, each through CLIP as an image of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor

from anomalyclip_med.backbones import Backbone
from anomalyclip_med.baselines.ensemble import NORMAL_STATES, PromptEnsemble, text_tower_of
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.detector import Detector, DetectorOutput
from anomalyclip_med.networks.maps import Upsampling, abnormal_log_odds
from anomalyclip_med.networks.views import Features, Views
from anomalyclip_med.networks.vision import VisionTower

WINDOWS = (3, 2)
"""Sides of the windows in patches: 48 and 32 pixels of 240."""

_ABNORMAL = ("damaged {}", "{} with flaw", "{} with defect", "{} with damage")

# The 21 of the code whose figures were published: of the paper's 22 two are absent, one of which another stands for.
_TEMPLATES = (
    "a cropped photo of the {}.",
    *("a jpeg corrupted photo of the {}.",) * 2,
    *(f"a {kind} photo of {the} {{}}." for kind in ("close-up", "bright", "dark", "blurry") for the in ("a", "the")),
    *(f"a photo of {the} {size}{{}}." for the in ("a", "the") for size in ("", "small ", "large ")),
    *(
        f"a photo of {the} {{}} for {use}."
        for the in ("a", "the")
        for use in ("visual inspection", "anomaly detection")
    ),
)


class WindowedVisionTower(VisionTower):
    """CLIP's vision tower on whole images and on all their windows.

    Args:
        visual: open_clip's vision tower; its modules are used in place, nothing is copied.
        image_size: side S of the square input in pixels, a multiple of the patch size; None for the tower's own.

    Raises:
        ConfigurationError: the size does not fit the tower, or is too small for the windows.
    """

    def __init__(self, visual: VisionTransformer, image_size: int | None) -> None:
        super().__init__(visual, image_size, "bicubic", antialias=True)
        if self.grid < max(WINDOWS):
            raise ConfigurationError(
                f"image_size={self.image_size} has {self.grid} patches along a side: windows need {max(WINDOWS)}"
            )

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode images (B, 3, S, S).

        Returns:
            Features of the images (B, E), and for each side k in `WINDOWS` those of its (G - k + 1)^2 windows, row by
            row, (B, windows, E); none normalised.
        """
        tokens = self.embed(images)
        return self._encode(tokens), [self._encode_windows(tokens, side) for side in WINDOWS]

    def _encode_windows(self, tokens: Tensor, side: int) -> Tensor:
        grid = torch.arange(self.grid**2, device=tokens.device).view(self.grid, -1)
        patches = 1 + grid.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side**2)
        members = F.pad(patches, (1, 0))  # the class token, 0, with each window's patches
        return self._encode(tokens[:, members].flatten(0, 1)).unflatten(0, (-1, len(members)))

    def _encode(self, tokens: Tensor) -> Tensor:
        """From the first block's input (N, L, D) to the class token's feature (N, E)."""
        *blocks, last = self.visual.transformer.resblocks
        for block in blocks:
            tokens = block(tokens)
        # Of the last block's output nothing but the class token is read.
        normed, x = last.ln_1(tokens), tokens[:, :1]
        x = x + last.ls_1(last.attention(normed[:, :1], normed, normed))
        x = x + last.ls_2(last.mlp(last.ln_2(x)))
        return self.project(self.visual.ln_post(x[:, 0]))


class WinCLIP(Detector):
    """WinCLIP (Jeong et al., CVPR 2023, arXiv 2303.14814), zero-shot, as AnomalyCLIP's authors compare with it.

    A window is the class token and the window's patches, which go through the transformer apart from the rest of the
    image. A patch's score is the harmonic mean over the windows that cover it, and then over the scales and the whole
    image.

    Args:
        backbone: the frozen towers.
        image_size: side S of the square input in pixels; None for the size that the tower was trained at.
        class_name: what the texts name where an image's own class is not known.
        views: of an image whose maps and scores are averaged.

    Raises:
        ConfigurationError: the backbone has no text tower, or an option does not fit it.
    """

    method = "WinCLIP"
    default_clip = "ViT-B-16-plus-240/laion400m_e31"

    vision: WindowedVisionTower

    def __init__(
        self,
        backbone: Backbone,
        image_size: int | None = None,
        class_name: str = "object",
        views: Views | None = None,
    ) -> None:
        if views and views.scales:
            raise ConfigurationError(f"scales: no option of {self.method}, whose windows are its scales")
        if views and views.skip_background:
            raise ConfigurationError(f"skip_background: no option of {self.method}, whose windows take every patch")
        clip = text_tower_of(backbone, self.method)
        vision = WindowedVisionTower(backbone.visual, image_size)
        super().__init__(backbone, vision, class_name, object_aware=True, views=views)
        self.texts = PromptEnsemble(clip, (NORMAL_STATES, _ABNORMAL), _TEMPLATES, normalize=False)
        for side in WINDOWS:
            self.register_buffer(f"covering_{side}", _covering_mean(vision.grid, side), persistent=False)
        self.upsample = Upsampling(self.grids, self.image_size)

    def encode_view(self, images: Tensor) -> Features:
        """Encode one view of normalised images (B, 3, S, S).

        Returns:
            ``image_features`` (B, E) and, for k of 3 and 2, ``windows_k`` (B, (G - k + 1)^2, E), all L2-normalised.
        """
        image_features, windows = self.vision(images)
        features = {"image_features": image_features}
        features |= {f"windows_{side}": of_side for side, of_side in zip(WINDOWS, windows, strict=True)}
        return {name: F.normalize(values, dim=-1) for name, values in features.items()}

    def encode_text(self, class_names: Sequence[str]) -> Tensor:
        """Text features (K, 2, E) of K classes, L2-normalised."""
        features: Tensor = self.texts(class_names)
        return features

    def score_view(self, features: Features, text_features: Tensor) -> DetectorOutput:
        """Score what :meth:`encode_view` returned."""
        score = abnormal_log_odds(features["image_features"], text_features).sigmoid()
        inverse = 1 / score[:, None, None]
        for side in WINDOWS:
            windows = abnormal_log_odds(features[f"windows_{side}"], text_features).sigmoid()
            covering = self.get_buffer(f"covering_{side}")
            inverse = inverse + covering @ (1 / windows).unflatten(1, (covering.shape[1], -1)) @ covering.T
        patches = (1 + len(WINDOWS)) / inverse
        anomaly_map = self.upsample(patches)
        return DetectorOutput(score, anomaly_map.clamp(0, 1)[:, None])

    def image_side(self) -> dict[str, Any]:
        """All that the features depend on beside the images."""
        return {**super().image_side(), "encoder": "winclip", "image_size": self.image_size}

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain values."""
        return {"image_size": self.image_size, "class_name": self.class_name, **self.views.settings()}


def _covering_mean(grid: int, side: int) -> Tensor:
    """(grid, grid - side + 1): for each place along an axis the mean over the windows that cover it."""
    places, starts = torch.arange(grid)[:, None], torch.arange(grid - side + 1)
    covered = ((starts <= places) & (places < starts + side)).float()
    return covered / covered.sum(dim=1, keepdim=True)
