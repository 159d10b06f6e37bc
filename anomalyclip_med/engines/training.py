"""Training of prompts: images, and the network between MONAI's trainer and the loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from monai.data import Dataset
from torch import Tensor, nn

from anomalyclip_med.data.procedural import ProceduralDataset, Settings
from anomalyclip_med.engines.evaluation import evaluation_items
from anomalyclip_med.errors import ConfigurationError, ScanError
from anomalyclip_med.losses import LossTerms, Targets, TrainingOutput
from anomalyclip_med.networks import AnomalyCLIP
from anomalyclip_med.weights import file_sha256

Item = dict[str, Any]
"""``image`` (3, S, S) in [0, 1], ``mask`` (1, S, S) of 0 and 1, ``label`` and ``known``."""


class LabelledImages(torch.utils.data.Dataset[Item]):
    """One section of a data list, read and resized.

    Args:
        datalist: see :func:`anomalyclip_med.data.datalist.read_datalist`.
        root: folder that its paths are relative to.
        section: which list.
        transform: reads the image under ``image`` and the mask under ``mask`` of each entry.
        few_shot: so many images of each class and label, chosen by the seed; None for all.
        seed: of that choice.

    Raises:
        ConfigurationError: the data list is wrong, or has fewer images of a class and label.
        ScanError: an image or a mask is not a readable 2-D image, or a mask has another size than its image.
    """

    def __init__(
        self,
        datalist: str | Path,
        root: str | Path,
        section: str,
        transform: Callable[[Item], Item],
        few_shot: int | None = None,
        seed: int = 0,
    ) -> None:
        self._entries = evaluation_items(datalist, root, section)
        self._datalist, self._section = Path(datalist).expanduser(), section
        self._chosen: list[int] | None = None
        if few_shot is not None:
            self._chosen = self._choose(few_shot, seed)
            self._entries = [self._entries[i] for i in self._chosen]
        self._read = Dataset(self._entries, transform)
        self.labels = {entry["label"] for entry in self._entries}
        self.marked = any(e["label"] == 1 and e["mask"] is not None for e in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Item:
        item = self._read[index]
        if item["failure"]:
            raise ScanError(item["failure"])  # else the prompts would learn from a black image
        label = int(item["label"])
        known = label == 0 or bool(item["has_mask"])
        return {"image": item["image"].as_tensor(), "mask": item["mask"], "label": label, "known": known}

    def describe(self) -> dict[str, Any]:
        """Which images these are, as plain values; those chosen of more by their places in the section, from 0."""
        about = {"datalist_sha256": file_sha256(self._datalist), "section": self._section, "images": len(self)}
        return about if self._chosen is None else {**about, "chosen": self._chosen}

    def identity(self, index: int) -> Any:
        """What an item is made from, as plain values: hashes of the files, the masks' rule and the label."""
        entry = self._entries[index]
        scans = [entry["image"], *(entry["mask"] or ())]
        hashes = [[file_sha256(file) for file in dict.fromkeys(scan.files)] for scan in scans]
        return {"files": hashes, "mask_rule": entry["mask_rule"], "label": entry["label"]}

    def _choose(self, few_shot: int, seed: int) -> list[int]:
        """Places of so many entries of each class and label."""
        if not isinstance(few_shot, int) or few_shot < 1:
            raise ConfigurationError(f"few_shot={few_shot!r} must be a whole number of at least 1")
        generator = torch.Generator().manual_seed(seed)
        chosen: list[int] = []
        for of_class in sorted({entry["class"] for entry in self._entries}):
            for label in sorted({entry["label"] for entry in self._entries}):
                places = [i for i, e in enumerate(self._entries) if (e["class"], e["label"]) == (of_class, label)]
                if len(places) < few_shot:
                    kind = "anomalous" if label else "normal"
                    raise ConfigurationError(
                        f'{self._datalist}: "{self._section}" has {len(places)} {kind} images of {of_class!r}, '
                        f"few_shot={few_shot} needs more"
                    )
                chosen += [places[i] for i in torch.randperm(len(places), generator=generator)[:few_shot]]
        return sorted(chosen)


class ProceduralImages(torch.utils.data.Dataset[Item]):
    """Procedural images as training items; all are marked.

    Args:
        length: items.
        seed: of the set.
        size: side in pixels.
        settings: what is drawn and how often.
    """

    marked = True

    def __init__(self, length: int, seed: int, size: int, settings: dict[str, Any] | None = None) -> None:
        self._images = ProceduralDataset(length, seed, size, Settings(**(settings or {})))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        return {**self._images[index], "known": True}

    def describe(self) -> dict[str, Any]:
        """Which images these are, as plain values."""
        images = self._images
        return {"procedural": len(self), "seed": images.seed, "size": images.size, "drawn": asdict(images.settings)}

    def identity(self, index: int) -> Any:
        """What an item is made from, as plain values."""
        return {**self.describe(), "procedural": index}


def training_images(
    datalist: str | Path,
    root: str | Path,
    section: str,
    transform: Callable[[Item], Item],
    procedural: int = 0,
    seed: int = 0,
    size: int = 518,
    settings: dict[str, Any] | None = None,
    few_shot: int | None = None,
) -> LabelledImages | ProceduralImages:
    """Images of a data list's section, or ``procedural`` drawn ones where that is above 0.

    Raises:
        ConfigurationError: few of the drawn images are asked for; or see :class:`LabelledImages`.
    """
    if not procedural:
        return LabelledImages(datalist, root, section, transform, few_shot, seed)
    if few_shot is not None:
        raise ConfigurationError("few_shot chooses from a data list: for fewer drawn images lower procedural")
    return ProceduralImages(procedural, seed, size, settings)


def choose_loss(
    terms: LossTerms | str, detector: AnomalyCLIP, images: LabelledImages | ProceduralImages
) -> tuple[LossTerms, list[str]]:
    """Which losses the data and the detector allow, and warnings where these are not the ones asked for.

    Args:
        terms: ``both``, ``global``, ``local``; or ``auto``: both, but only the local one without a text tower, whose
            class token has never been aligned with anything.
        detector: to be trained.
        images: to train on.

    Raises:
        ConfigurationError: the local loss alone on images without masks.
    """
    if terms == "auto":
        terms = LossTerms.BOTH if detector.prompt_learner.config else LossTerms.LOCAL
    elif terms not in set(LossTerms):
        raise ConfigurationError(f"loss={terms!r} is unknown: choose one of auto, {', '.join(LossTerms)}")
    terms = LossTerms(terms)
    if images.marked or terms is LossTerms.GLOBAL:
        return terms, []
    if terms is LossTerms.LOCAL:
        raise ConfigurationError("no anomalous image has a mask: there is nothing to learn the local loss from")
    message = "no-masks: no anomalous image has a mask, so only the global loss is trained"
    warnings.warn(message, stacklevel=2)
    return LossTerms.GLOBAL, [message]


class PromptTraining(nn.Module):
    """A detector between MONAI's engines and the loss: what the loss needs in training mode, else predictions.

    Its state is the learned tensors alone, by the names of prompt files: they are what checkpoints hold, and all that
    MONAI's federated client sends.

    Args:
        detector: whose prompts are trained.
        terms: the loss that follows, or ``auto``; only the global one needs no maps.
        layers: vision blocks whose maps are trained, among the detector's feature layers. None for the last of them,
            as the authors train, and without a text tower for all.

    Raises:
        ConfigurationError: a layer is not among the detector's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, detector: AnomalyCLIP, terms: LossTerms | str = LossTerms.BOTH, layers: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        have = list(detector.vision.feature_layers)
        if layers is None:
            layers = have[-1:] if detector.prompt_learner.config else have
        if not layers or not set(layers) <= set(have):
            raise ConfigurationError(f"train_layers={list(layers)} must be among the feature layers {have}")
        self.detector = detector
        self.maps = terms != LossTerms.GLOBAL
        self.trained_layers = [have.index(layer) for layer in layers]
        self.register_buffer("mean", torch.tensor(detector.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(detector.image_std).view(1, 3, 1, 1), persistent=False)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The learned tensors."""
        return {name: tensor.detach() for name, tensor in self.detector.prompt_learner.learned().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy into the learned tensors; there must be all of them and nothing else."""
        learned = self.state_dict()
        if state_dict.keys() != learned.keys():
            raise RuntimeError(f"the learned tensors are {', '.join(learned)}, not {', '.join(state_dict)}")
        for name, tensor in learned.items():
            tensor.copy_(state_dict[name])

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Image features (B, E) and patch features (B, layers, 1 + P, E) of RGB images in [0, 1]."""
        with torch.no_grad():
            image_features, patch_features = self.detector.encode_image((images - self.mean) / self.std)
        return image_features, torch.stack(patch_features, dim=1)

    def forward(self, features: tuple[Tensor, Tensor] | Tensor) -> TrainingOutput | Tensor:
        """Evaluate images (B, 3, S, S) in [0, 1], or what :meth:`encode` made of them.

        Returns:
            In training mode what the loss takes; else (B, 2, S, S) in [0, 1], map and image score, as
            :class:`anomalyclip_med.networks.SingleTensorDetector` has it.
        """
        image_features, patch_features = self.encode(features) if isinstance(features, Tensor) else features
        layers = list(patch_features.unbind(dim=1))
        if self.training:
            trained = [layers[i] for i in self.trained_layers]
            maps = self.detector.upsampled_maps(trained) if self.maps else None
            return TrainingOutput(image_features, self.detector.text_features, maps)
        score, anomaly_map = self.detector.score_features(image_features, layers)
        return torch.cat([anomaly_map, score[:, None, None, None].expand_as(anomaly_map)], dim=1)


def use_amp(mixed_precision: bool, device: torch.device | str) -> bool:
    """Whether MONAI's trainer is to compute in mixed precision.

    Raises:
        ConfigurationError: it is asked for elsewhere than on an NVIDIA GPU: MONAI's engines autocast there only.
    """
    if mixed_precision and torch.device(device).type != "cuda":
        raise ConfigurationError(f"mixed_precision is for NVIDIA GPUs, the device is {device}")
    return mixed_precision


def prepare_batch(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
) -> tuple[Any, Targets]:
    """A collated batch as MONAI's engines take it: images, or features where they are cached, and targets."""

    def moved(name: str) -> Tensor:
        return batch[name].to(device=device, non_blocking=non_blocking)

    if "image" in batch:
        inputs: Any = moved("image")
    else:
        inputs = moved("image_features").float(), moved("patch_features").float()
    return inputs, Targets(moved("label"), moved("mask")[:, 0].float(), moved("known"))
