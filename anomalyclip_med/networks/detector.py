"""What every method is to the rest of the package: images in, a score and a map out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from anomalyclip_med.backbones import Backbone
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.maps import Upsampling
from anomalyclip_med.networks.memory import PatchMemory
from anomalyclip_med.networks.views import Features, Views
from anomalyclip_med.networks.vision import VisionTower


class DetectorOutput(NamedTuple):
    """What every detector returns.

    Attributes:
        score: (B,) image scores in [0, 1]; higher is more anomalous.
        anomaly_map: (B, 1, S, S) pixel scores in [0, 1].
    """

    score: Tensor
    anomaly_map: Tensor


class TrainingOutput(NamedTuple):
    """What a detector gives to the loss.

    Attributes:
        image_logits: (B, 2), of the normal and the abnormal state.
        layer_maps: (layers, B, S, S) abnormal probabilities; None where only the global loss is taken.
    """

    image_logits: Tensor
    layer_maps: Tensor | None


def _forget_file(detector: Detector, _: Any) -> None:
    """What a whole network's state dict holds is no longer that of the file that was read before."""
    detector.prompts_name = detector.prompts_sha256 = None
    detector.file_name = detector.file_sha256 = None


class Detector(nn.Module, ABC):
    """A frozen CLIP that compares images with a normal and an abnormal state, in whatever way the method has.

    The text features of the two states are computed once per class name, and again only when what they are learned from
    changes.

    Args:
        backbone: the frozen towers.
        vision: its vision tower as the method runs it.
        class_name: what the texts name where an image's own class is not known, such as "brain"; an underscore, as in
            the names of MVTec AD's folders, is read as a space.
        object_aware: whether the texts name anything at all.
        views: of an image whose maps and scores are averaged; None for the image as it is, which training always takes.

    Attributes:
        image_mean: per-channel mean that is subtracted from images in [0, 1].
        image_std: per-channel standard deviation that they are divided by.
        warnings: what was assumed or must be known, each beginning with a stable name and a colon.
        backbone_name: of the backbone.
        backbone_sha256: of its weights.
        backbone_activation: of its MLPs.
        backbone_trained: false only for random weights.
        precision: of the products of the vision tower's blocks.
        backbone_interpolation: of its positional embedding, ``bilinear`` or ``bicubic``.
        prompts_name: file that the learned tensors were read from, or None.
        prompts_sha256: of it.
        prompts_trained: whether they have been trained.
        file_name: file that holds the whole detector, see :mod:`anomalyclip_med.exports`, or None.
        file_sha256: of it.
        references: SHA-256 of the files of normal images that patches are compared with, see :meth:`remember`.
    """

    method: ClassVar[str]
    """Its name in results."""
    default_clip: ClassVar[str]
    """The backbone that it is made for, see :func:`anomalyclip_med.backbones.load_clip`."""
    losses: tuple[str, ...] = ()
    """Terms of the loss that can train it, the default first; empty where nothing is learned."""
    feature_layers: tuple[int, ...] = ()
    """Vision blocks, counting from 1, that make a map each."""

    _text_features: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        vision: VisionTower,
        class_name: str,
        object_aware: bool,
        views: Views | None = None,
    ) -> None:
        super().__init__()
        self.backbone_name = backbone.name
        self.backbone_sha256 = backbone.sha256
        self.backbone_activation = backbone.activation
        self.backbone_trained = backbone.trained
        self.precision = backbone.precision
        self.backbone_interpolation = backbone.interpolation
        self.image_mean = backbone.image_mean
        self.image_std = backbone.image_std
        self.warnings = list(backbone.warnings)
        self.prompts_name: str | None = None
        self.prompts_sha256: str | None = None
        self.prompts_trained = False
        self.file_name: str | None = None
        self.file_sha256: str | None = None
        self.references: tuple[str, ...] = ()
        self.memory: PatchMemory | None = None
        self.register_load_state_dict_post_hook(_forget_file)
        self.vision = vision
        self.class_name = class_name.replace("_", " ")
        self.object_aware = object_aware
        self.views = views or Views()
        self._views = self.views.of(vision.image_size, vision.patch)
        for size in {view.size for view in self._views if view.size}:
            vision.add_size(size)
        if self.views.skip_background:
            vision.skip_background(backbone.image_mean, backbone.image_std)
        self.register_buffer("_text_features", None, persistent=False)
        self._text_features_of: tuple[tuple[int, int], ...] = ()
        self._text_rows: dict[str, int] = {}

    def encode_image(self, images: Tensor) -> Features:
        """The frozen, expensive part: all that is computed of images before any text.

        Args:
            images: (B, 3, S, S) float, normalised with ``image_mean`` and ``image_std``.

        Returns:
            What :meth:`encode_view` makes of them; of views beside the image as it is, such as ``mirrored``, under
            ``mirrored/`` and the same names.

        Raises:
            ConfigurationError: the images' device cannot compute in the detector's precision.
        """
        self.precision.check_device(images.device)
        features: Features = {}
        for view in self._views:
            features |= view.named(self.encode_view(view.of_images(images)))
        return features

    @abstractmethod
    def encode_view(self, images: Tensor) -> Features:
        """Encode one view of normalised images (B, 3, S, S)."""

    @abstractmethod
    def encode_text(self, class_names: Sequence[str]) -> Tensor:
        """Text features (K, 1 + states, E) of K classes, normal first, L2-normalised; mostly of one abnormal state."""

    def score_features(self, features: Features, class_names: Sequence[str] | None = None) -> DetectorOutput:
        """Score what :meth:`encode_image` returned.

        The map is the mean over all views, the score that over those in the image's own size.

        Args:
            features: of B images.
            class_names: of the images, for texts that name them; None, or "" for one, for ``class_name``.
        """
        text_features = self.text_features_of(class_names)
        outputs = [self._score_view(view.chosen(features), text_features) for view in self._views]
        if len(outputs) == 1:
            return outputs[0]
        seen = list(zip(self._views, outputs, strict=True))
        scores = [output.score for view, output in seen if view.size is None]
        maps = [view.of_maps(output.anomaly_map) for view, output in seen]
        return DetectorOutput(torch.stack(scores).mean(dim=0), torch.stack(maps).mean(dim=0))

    def _score_view(self, features: Features, text_features: Tensor) -> DetectorOutput:
        """The method's own map and score, or their means with those of the normal images where there are some."""
        output = self.score_view(features, text_features)
        if self.memory is None:
            return output
        patches, upsampling = self.comparable_patches(features)
        distances = self.memory.distances(patches)
        grid = self.vision.grid_of(distances.shape[1])
        anomaly_map = upsampling(distances.unflatten(1, (grid, -1)))[:, None].clamp(0, 1)
        return DetectorOutput((output.score + distances.amax(dim=1)) / 2, (output.anomaly_map + anomaly_map) / 2)

    def remember(self, features: Features, files: Sequence[str]) -> None:
        """Compare patches with those of a few normal images from now on (few-shot), beside the texts.

        The map is then the mean of the method's own and of each patch's distance to the nearest normal patch, see
        :class:`~anomalyclip_med.networks.memory.PatchMemory`; the score the mean of the method's own and of the largest
        distance. All views of the normal images are remembered together. No file of prompts or weights holds them.

        Args:
            features: of normal images, from :meth:`encode_image`.
            files: their SHA-256.

        Raises:
            ConfigurationError: the method compares no patches with each other.
        """
        patches = [self.comparable_patches(view.chosen(features))[0] for view in self._views]
        self.memory = PatchMemory(torch.cat([p.transpose(0, 1).flatten(1, 2) for p in patches], dim=1))
        self.references = tuple(files)

    def comparable_patches(self, features: Features) -> tuple[Tensor, Upsampling]:
        """Patch features (B, layers, P, E) of one view, L2-normalised, and what makes maps of patch values.

        Raises:
            ConfigurationError: the method compares no patches with each other.
        """
        raise ConfigurationError(f"references: {self.method} takes no normal images to compare with")

    @property
    def grids(self) -> list[int]:
        """Patches along each side of the images of all views, their own size first."""
        return [(size or self.image_size) // self.vision.patch for size in dict.fromkeys(v.size for v in self._views)]

    @abstractmethod
    def score_view(self, features: Features, text_features: Tensor) -> DetectorOutput:
        """Score what :meth:`encode_view` returned.

        Args:
            features: of B images.
            text_features: (1 + states, E) or (B, 1 + states, E).
        """

    @abstractmethod
    def image_side(self) -> dict[str, Any]:
        """All that an image's features depend on beside the image, as plain values.

        Here, what the backbone, its precision and the views add.
        Two detectors of equal ones have equal features.
        """
        # A weights file need not tell its activation, nor what its images are normalised with.
        return {
            "clip_sha256": self.backbone_sha256,
            "clip_activation": str(self.backbone_activation),
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
            "precision": str(self.precision),
            **self.views.settings(),
        }

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments as plain values, beside the backbone and the words."""

    def forward(self, images: Tensor, class_names: Sequence[str] | None = None) -> DetectorOutput:
        """Score normalised images (B, 3, S, S)."""
        return self.score_features(self.encode_image(images), class_names)

    def learned(self) -> dict[str, Tensor]:
        """The trained tensors by the names that checkpoints use."""
        return {}

    def text_learned(self) -> dict[str, Tensor]:
        """Those of them that the text features depend on."""
        return {}

    @property
    def trained_layers(self) -> tuple[int, ...]:
        """Those of the feature layers whose maps a training takes if none are named."""
        return self.feature_layers

    def training_output(
        self,
        features: Features,
        class_names: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        maps: bool = True,
    ) -> TrainingOutput:
        """What the loss takes.

        Args:
            features: from :meth:`encode_image`.
            class_names: of the images, as in :meth:`score_features`.
            layers: feature layers whose maps are trained; None for ``trained_layers``.
            maps: whether the loss takes maps.

        Raises:
            ConfigurationError: there is nothing to learn.
        """
        raise ConfigurationError(f"{self.method} learns nothing: it scores as it is")

    @property
    def image_size(self) -> int:
        """Side S of the square input in pixels."""
        return self.vision.image_size

    @property
    def trained(self) -> bool:
        """Whether both the backbone and what the method learns, if anything, have been trained."""
        return self.backbone_trained and (self.prompts_trained or not self.learned())

    def describe(self) -> dict[str, Any]:
        """Weights and settings as plain values, for a result's provenance."""
        return {
            "method": self.method,
            "clip": self.backbone_name,
            "clip_sha256": self.backbone_sha256,
            "clip_activation": str(self.backbone_activation),
            "clip_trained": self.backbone_trained,
            "precision": str(self.precision),
            "prompts": self.prompts_name,
            "prompts_sha256": self.prompts_sha256,
            "prompts_trained": self.prompts_trained if self.learned() else None,
            **self.settings(),
            **({"references": list(self.references)} if self.memory else {}),
            **({"file": self.file_name, "file_sha256": self.file_sha256} if self.file_name else {}),
        }

    @property
    def text_features(self) -> Tensor:
        """(1 + states, E): the normal and the abnormal text features of ``class_name``, L2-normalised.

        Differentiable in training mode; cached and without gradient in evaluation mode.
        """
        return self._of_classes([self.class_name])[0]

    def text_features_of(self, class_names: Sequence[str] | None) -> Tensor:
        """The same for each image, with the batch first; without it where the texts do not name the images' classes."""
        if class_names is None or not self.object_aware:
            return self.text_features
        named = [name.replace("_", " ") or self.class_name for name in class_names]
        names = list(dict.fromkeys(named))
        return self._of_classes(names)[[names.index(name) for name in named]]

    def _of_classes(self, names: list[str]) -> Tensor:
        learned = self.text_learned()
        if self.training and learned:
            return self.encode_text(names)
        # A constant of an exported graph; eval() has brought it up to date.
        if self._text_features is None or not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            self._update_texts(names, learned)
        assert self._text_features is not None
        return self._text_features[[self._text_rows[name] for name in names]]

    def _update_texts(self, names: list[str], learned: dict[str, Tensor]) -> None:
        # The version counter of a tensor rises with each change in place: an optimiser's step, a loaded checkpoint.
        # A tensor made in inference mode has none and cannot be changed.
        state = tuple((id(p), 0 if p.is_inference() else p._version) for p in learned.values())
        if self._text_features is None or state != self._text_features_of:
            self._text_features, self._text_features_of, self._text_rows = None, state, {}
        if new := [name for name in names if name not in self._text_rows]:
            # Not in inference mode, even if the caller is: a training could not use what is kept.
            with torch.inference_mode(False), torch.no_grad():
                known = () if self._text_features is None else (self._text_features,)
                self._text_features = torch.cat([*known, self.encode_text(new)])
            self._text_rows |= {name: len(self._text_rows) + i for i, name in enumerate(new)}

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation mode; the latter brings the text features up to date."""
        super().train(mode)
        if not mode:
            _ = self.text_features
        return self
