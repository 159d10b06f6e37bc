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

from anomalyclip_med.data.datalist import NO_CLASS
from anomalyclip_med.data.procedural import ProceduralDataset, Settings
from anomalyclip_med.engines.evaluation import evaluation_items
from anomalyclip_med.engines.mosaic import draw_mosaics, tile
from anomalyclip_med.errors import ConfigurationError, ScanError
from anomalyclip_med.losses import LossTerms, Targets
from anomalyclip_med.networks import Detector, Features, TrainingOutput
from anomalyclip_med.weights import file_sha256

Item = dict[str, Any]
"""``image`` (3, S, S) in [0, 1], ``mask`` (1, S, S) of 0 and 1, ``label``, ``known``; ``name``, ``class``,
``group``."""


class LabelledImages(torch.utils.data.Dataset[Item]):
    """One section of a data list, read and resized.

    Args:
        datalist: see :func:`anomalyclip_med.data.datalist.read_datalist`.
        root: folder that its paths are relative to.
        section: which list.
        transform: reads the image under ``image`` and the mask under ``mask`` of each entry.
        few_shot: so many images of each class and label, chosen by the seed; None for all.
        mosaic: share of the images in whose place four of their class stand, see :mod:`.mosaic`; chosen by the seed.
        seed: of these choices.

    Attributes:
        labels: those that occur, of 0 (normal) and 1 (anomalous).
        marked: whether an anomalous image has a mask.

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
        mosaic: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._entries = evaluation_items(datalist, root, section)
        self._datalist, self._section = Path(datalist).expanduser(), section
        self._chosen: list[int] | None = None
        if few_shot is not None:
            self._chosen = self._choose(few_shot, seed)
            self._entries = [self._entries[i] for i in self._chosen]
        if not 0 <= mosaic <= 1:
            raise ConfigurationError(f"mosaic={mosaic!r} must be a share in [0, 1]")
        self._mosaics = draw_mosaics([entry["class"] for entry in self._entries], mosaic, seed)
        self._read = Dataset(self._entries, transform)
        self.labels = {entry["label"] for entry in self._entries}
        self.marked = any(e["label"] == 1 and e["mask"] is not None for e in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Item:
        parts = [self._one(i) for i in self._mosaics.get(index, [index])]
        if len(parts) == 1:
            return {**parts[0], **self.about(index)}
        return {
            "image": tile([part["image"] for part in parts]),
            "mask": tile([part["mask"] for part in parts], nearest=True),
            "label": max(part["label"] for part in parts),
            "known": all(part["known"] for part in parts),
            **self.about(index),
        }

    def _one(self, index: int) -> Item:
        item = self._read[index]
        if item["failure"]:
            raise ScanError(item["failure"])  # else a black image would be learned from, or measured on
        label = int(item["label"])
        known = label == 0 or bool(item["has_mask"])
        mask = item["mask"] if label else torch.zeros_like(item["mask"])  # a normal image's mask does not count
        return {"image": item["image"].as_tensor(), "mask": mask, "label": label, "known": known}

    def about(self, index: int) -> dict[str, str]:
        """What the data list tells of an image: ``name``, ``class`` and ``group``."""
        return {key: self._entries[index][key] for key in ("name", "class", "group")}

    def has_both_pixels(self) -> bool:
        """Whether there are normal and anomalous pixels at the model's input size; reads masks until that is clear."""
        found = {0.0} if 0 in self.labels else set()
        for index, entry in enumerate(self._entries):
            if entry["label"] == 1 and entry["mask"] is not None:
                found |= set(self[index]["mask"].unique().tolist())
                if len(found) == 2:
                    return True
        return False

    def describe(self) -> dict[str, Any]:
        """Which images these are, as plain values; those chosen of more by their places in the section, from 0."""
        about = {"datalist_sha256": file_sha256(self._datalist), "section": self._section, "images": len(self)}
        chosen = {} if self._chosen is None else {"chosen": self._chosen}
        return {**about, **chosen, **({"mosaics": len(self._mosaics)} if self._mosaics else {})}

    def identity(self, index: int) -> Any:
        """What an item is made from, as plain values: hashes of the files, the masks' rule and the label."""
        if index in self._mosaics:
            return {"mosaic": [self._identity(i) for i in self._mosaics[index]]}
        return self._identity(index)

    def _identity(self, index: int) -> Any:
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
        settings: fields of :class:`~anomalyclip_med.data.procedural.Settings`, what is drawn and how often, that differ
            from the default.
    """

    labels = frozenset({0, 1})
    marked = True

    def __init__(self, length: int, seed: int, size: int, settings: dict[str, Any] | None = None) -> None:
        self._images = ProceduralDataset(length, seed, size, Settings(**(settings or {})))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        return {**self._images[index], "known": True, **self.about(index)}

    def about(self, index: int) -> dict[str, str]:
        """An image's number; it has no class and no group."""
        return {"name": str(index), "class": NO_CLASS, "group": ""}

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
    mosaic: float = 0.0,
) -> LabelledImages | ProceduralImages:
    """Images of a data list's section, or ``procedural`` drawn ones where that is above 0.

    Args:
        datalist: see :class:`LabelledImages`, as of the next three.
        root: likewise.
        section: likewise.
        transform: likewise.
        procedural: drawn images; 0 for those of the data list.
        seed: of what is drawn or chosen.
        size: side of drawn images in pixels.
        settings: of drawn images: what differs from the default, see
            :class:`~anomalyclip_med.data.procedural.Settings`.
        few_shot: see :class:`LabelledImages`.
        mosaic: likewise.

    Raises:
        ConfigurationError: few or mosaics of the drawn images are asked for; or see :class:`LabelledImages`.
        ScanError: see :class:`LabelledImages`.

    Examples:
        >>> from monai.transforms import Compose
        >>> from anomalyclip_med.data.procedural import write_folder
        >>> from anomalyclip_med.engines import training_images
        >>> from anomalyclip_med.transforms import LoadMaskd, LoadSliced, ResizeSliced
        >>> datalist = write_folder(Path("drawn"), 4, size=40)
        >>> transform = Compose([LoadSliced("image"), ResizeSliced("image", 28), LoadMaskd("mask", 28)])
        >>> images = training_images(datalist, "drawn", "training", transform)
        >>> len(images), images[0]["image"].shape, images[0]["mask"].shape, images[0]["label"]
        (4, torch.Size([3, 28, 28]), torch.Size([1, 28, 28]), 1)
    """
    if not procedural:
        return LabelledImages(datalist, root, section, transform, few_shot, mosaic, seed)
    if few_shot is not None:
        raise ConfigurationError("few_shot chooses from a data list: for fewer drawn images lower procedural")
    if mosaic:
        raise ConfigurationError("mosaic is of the images of a data list, not of drawn ones")
    return ProceduralImages(procedural, seed, size, settings)


def choose_loss(
    terms: LossTerms | str, detector: Detector, images: LabelledImages | ProceduralImages
) -> tuple[LossTerms, list[str]]:
    """Which losses the data and the detector allow, and warnings of what they cannot teach.

    Args:
        terms: ``both``, ``global``, ``local``; or ``auto``: the detector's own choice.
        detector: to be trained.
        images: to train on.

    Raises:
        ConfigurationError: the detector does not learn, or not by this loss; or the local loss alone on images without
            masks.

    Examples:
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.engines import choose_loss, training_images
        >>> images = training_images("", "", "", dict, procedural=2, size=42)
        >>> detector = create_model("untrained", image_size=42)
        >>> choose_loss("auto", detector, images)
        (<LossTerms.BOTH: 'both'>, [])
        >>> choose_loss("dice", detector, images)
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: loss='dice' is unknown: choose one of auto, both, global, local
    """
    if not detector.losses:
        raise ConfigurationError(f"{detector.file_name or detector.method} learns nothing: it scores as it is")
    if terms == "auto":
        terms = detector.losses[0]
    elif terms not in set(LossTerms):
        raise ConfigurationError(f"loss={terms!r} is unknown: choose one of auto, {', '.join(LossTerms)}")
    elif terms not in detector.losses:
        raise ConfigurationError(
            f"loss={terms!r} does not train {detector.method}: choose {', '.join(detector.losses)}"
        )
    terms = LossTerms(terms)
    told = []
    if terms is LossTerms.LOCAL and not images.marked:
        raise ConfigurationError("no anomalous image has a mask: there is nothing to learn the local loss from")
    if terms is LossTerms.BOTH and not images.marked:
        terms = LossTerms.GLOBAL
        told.append("no-masks: no anomalous image has a mask, so only the global loss is trained")
    if terms is not LossTerms.LOCAL and len(images.labels) == 1:
        told.append("one-label: all images have one label, which the global loss then learns to give to any image")
    for message in told:
        warnings.warn(message, stacklevel=2)
    return terms, told


class PromptTraining(nn.Module):
    """A detector between MONAI's engines and the loss: what the loss needs in training mode, else predictions.

    Its state is the learned tensors alone, by the names of prompt files: they are what checkpoints hold, and all that
    MONAI's federated client sends.

    Args:
        detector: whose prompts are trained.
        terms: the loss that follows, or ``auto``; only the global one needs no maps.
        layers: vision blocks whose maps are trained, among the detector's feature layers, or ``all`` of these; None for
            the detector's own choice.

    Raises:
        ConfigurationError: a layer is not among the detector's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, detector: Detector, terms: LossTerms | str = LossTerms.BOTH, layers: Sequence[int] | str | None = None
    ) -> None:
        super().__init__()
        have = list(detector.feature_layers)
        if isinstance(layers, str):
            layers = have if layers == "all" else []
        if layers is not None and not (layers and set(layers) <= set(have)):
            raise ConfigurationError(f"train_layers={layers!r} must be 'all', or among the feature layers {have}")
        self.detector = detector
        if terms == "auto" and detector.losses:
            terms = detector.losses[0]
        self.maps = terms != LossTerms.GLOBAL
        self.trained_layers = layers
        self.register_buffer("mean", torch.tensor(detector.image_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(detector.image_std).view(1, 3, 1, 1), persistent=False)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The learned tensors."""
        return {name: tensor.detach() for name, tensor in self.detector.learned().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy into the learned tensors; there must be all of them and nothing else."""
        learned = self.state_dict()
        if state_dict.keys() != learned.keys():
            raise RuntimeError(f"the learned tensors are {', '.join(learned)}, not {', '.join(state_dict)}")
        for name, tensor in learned.items():
            tensor.copy_(state_dict[name])

    def encode(self, images: Tensor) -> Features:
        """What the frozen tower makes of RGB images in [0, 1]."""
        with torch.no_grad():
            return self.detector.encode_image((images - self.mean) / self.std)

    def forward(self, features: Features | Tensor, class_names: Sequence[str] | None = None) -> TrainingOutput | Tensor:
        """Evaluate images (B, 3, S, S) in [0, 1], or what :meth:`encode` made of them.

        Args:
            features: or images.
            class_names: of the images, for texts that name them.

        Returns:
            In training mode what the loss takes; else (B, 2, S, S) in [0, 1], map and image score, as
            :class:`anomalyclip_med.networks.SingleTensorDetector` has it.
        """
        if isinstance(features, Tensor):
            features = self.encode(features)
        if self.training:
            return self.detector.training_output(features, class_names, self.trained_layers, self.maps)
        score, anomaly_map = self.detector.score_features(features, class_names)
        return torch.cat([anomaly_map, score[:, None, None, None].expand_as(anomaly_map)], dim=1)


def use_amp(mixed_precision: bool, device: torch.device | str) -> bool:
    """Whether MONAI's trainer is to compute in mixed precision.

    Args:
        mixed_precision: whether it is asked for.
        device: to train on.

    Raises:
        ConfigurationError: it is asked for elsewhere than on an NVIDIA GPU: MONAI's engines autocast there only.

    Examples:
        >>> from anomalyclip_med.engines import use_amp
        >>> use_amp(True, "cuda:0"), use_amp(False, "cpu")
        (True, False)
        >>> use_amp(True, "cpu")
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: mixed_precision is for NVIDIA GPUs, the device is cpu
    """
    if mixed_precision and torch.device(device).type != "cuda":
        raise ConfigurationError(f"mixed_precision is for NVIDIA GPUs, the device is {device}")
    return mixed_precision


def prepare_batch(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **kwargs: Any
) -> tuple[Any, Targets, tuple[()], dict[str, Any]]:
    """A collated batch as MONAI's engines take it, on the device.

    Args:
        batch: of the items of :class:`LabelledImages`, or what is kept of them.
        device: to compute on.
        non_blocking: see :meth:`torch.Tensor.to`.
        kwargs: further ones of MONAI's engines, without effect.

    Returns:
        Images (B, 3, S, S) in [0, 1], or float32 features where they are cached; targets; and as arguments of
        :meth:`PromptTraining.forward` the images' classes, "" where none is known.

    Examples:
        >>> from torch.utils.data import default_collate
        >>> from anomalyclip_med.engines import prepare_batch, training_images
        >>> images = training_images("", "", "", dict, procedural=2, size=42)
        >>> inputs, targets, _, named = prepare_batch(default_collate(list(images)), torch.device("cpu"))
        >>> inputs.shape, targets.masks.shape, targets.known, named
        (torch.Size([2, 3, 42, 42]), torch.Size([2, 42, 42]), tensor([True, True]), {'class_names': ['', '']})
    """

    def moved(name: str) -> Tensor:
        return batch[name].to(device=device, non_blocking=non_blocking)

    if "image" in batch:
        inputs: Any = moved("image")
    else:
        inputs = {n: f.to(device=device, non_blocking=non_blocking).float() for n, f in batch["features"].items()}
    targets = Targets(moved("label"), moved("mask")[:, 0].float(), moved("known"))
    return inputs, targets, (), {"class_names": ["" if name == NO_CLASS else name for name in batch["class"]]}
