"""What an exported detector tells of itself."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from anomalyclip_med import __version__
from anomalyclip_med.backbones import Activation, Precision
from anomalyclip_med.errors import ConfigurationError, WeightsError
from anomalyclip_med.networks import AnomalyCLIP, Detector, PromptConfig
from anomalyclip_med.networks.checkpoint import are_settings

KEY = "anomalyclip_med"
"""Name of the record among a file's metadata."""
_FORMAT = "anomalyclip_med.detector"
_LOADED = ("file", "file_sha256")
"""What a detector tells and its file does not."""
_WEIGHTS: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "clip": str,
    "clip_sha256": str,
    "clip_activation": str,
    "clip_trained": bool,
    "precision": str,
    "prompts": (str, type(None)),
    "prompts_sha256": (str, type(None)),
    "prompts_trained": bool,
    "prompt_config": (dict, type(None)),
}
"""What :meth:`anomalyclip_med.networks.AnomalyCLIP.describe` tells beside the settings."""


@dataclass(frozen=True)
class Record:
    """All of a detector but its tensors, as JSON keeps it.

    Attributes:
        model: weights and settings, from the detector's ``describe``.
        image_mean: per-channel mean of images in [0, 1] that is subtracted.
        image_std: per-channel standard deviation that they are divided by.
        interpolation: of the positional embedding.
        heads: of each block's attention.
        epsilon: of the layer norms.
        warnings: what was assumed or must be known of the weights.
        package_version: that wrote the file.
    """

    model: dict[str, Any]
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    interpolation: str
    heads: int
    epsilon: float
    warnings: tuple[str, ...]
    package_version: str = __version__

    @classmethod
    def of(cls, detector: Detector) -> Record:
        """The record of a detector.

        Raises:
            ConfigurationError: it is not AnomalyCLIP with prompts that are the same for every image, or compares
                patches with normal images.
        """
        if not isinstance(detector, AnomalyCLIP) or detector.object_aware:
            what = "object-aware prompts name" if isinstance(detector, AnomalyCLIP) else f"{detector.method} names"
            raise ConfigurationError(
                f"{what} each image's class, so a text tower is needed for every new one: only AnomalyCLIP with "
                "object-agnostic prompts can be exported"
            )
        if detector.precision is not Precision.FLOAT32:
            raise ConfigurationError(
                f"precision={detector.precision}: files hold float32; export in it, and choose when the file is loaded"
            )
        if detector.memory is not None:
            raise ConfigurationError("references: no exported file holds normal images; export the detector without")
        visual = detector.vision.visual
        return cls(
            model={name: value for name, value in detector.describe().items() if name not in _LOADED},
            image_mean=detector.image_mean,
            image_std=detector.image_std,
            interpolation=detector.backbone_interpolation,
            heads=visual.transformer.resblocks[0].attn.num_heads,
            epsilon=visual.ln_post.eps,
            warnings=tuple(detector.warnings),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Of the detector, by the names of its arguments."""
        return {name: value for name, value in self.model.items() if name not in _WEIGHTS}

    @property
    def activation(self) -> Activation:
        """Of the MLPs."""
        return Activation(self.model["clip_activation"])

    @property
    def prompt_config(self) -> PromptConfig | None:
        """Of the prompts that the text features come from; None for embeddings."""
        config = self.model["prompt_config"]
        return None if config is None else PromptConfig(**config)

    def to_json(self) -> str:
        """As text."""
        return json.dumps({"format": _FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | None, source: str) -> Record:
        """From text.

        Args:
            text: of a file's metadata; None where it has none.
            source: the file, for messages.

        Raises:
            WeightsError: it is no such record.
        """
        if text is None:
            raise WeightsError(f"{source}: no detector of 'anomalyclip-med export'; weights go to clip or prompts")
        try:
            values = json.loads(text)
            if values.pop("format") != _FORMAT:
                raise ValueError("of another format")
            for name in ("image_mean", "image_std", "warnings"):
                values[name] = tuple(values[name])
            record = cls(**values)
            record._check()
        except (ValueError, TypeError, KeyError, AttributeError, ConfigurationError) as error:
            raise WeightsError(f"{source}: its record of the detector is unreadable ({error!r})") from None
        return record

    def _check(self) -> None:
        """Raise a ValueError, or whatever a wrong type leads to, for what no detector has."""
        _ = self.activation, self.prompt_config
        numbers = (*self.image_mean, *self.image_std, self.epsilon)
        fits = {
            "model": all(isinstance(self.model[name], kind) for name, kind in _WEIGHTS.items()),
            "settings": are_settings(self.settings),
            "numbers": len(numbers) == 7 and all(math.isfinite(n) for n in numbers) and min(numbers[3:]) > 0,
            "heads": isinstance(self.heads, int) and self.heads > 0,
            "interpolation": self.interpolation in ("bilinear", "bicubic"),
            "text": all(isinstance(text, str) for text in (*self.warnings, self.package_version)),
        }
        if wrong := [name for name, well in fits.items() if not well]:
            raise ValueError(f"wrong {', '.join(wrong)}")
