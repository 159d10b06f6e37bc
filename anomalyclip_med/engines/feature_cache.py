"""Image features, computed once: they do not depend on the prompts."""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from tqdm import trange

from anomalyclip_med import __version__
from anomalyclip_med.engines.training import Item, LabelledImages, ProceduralImages, PromptTraining
from anomalyclip_med.errors import ConfigurationError

_BATCH = 8
_TARGETS = ("mask", "label", "known")
_DTYPES = {"float32": torch.float32, "float16": torch.float16}


class CachedFeatures(Dataset[Item]):
    """What the frozen tower makes of images in place of them, with the same masks and labels.

    Held in memory, or in files named by a SHA-256 of all that they depend on: the CLIP's hash, the detector's settings
    of the image side, the preprocessing, and the images' and masks' own hashes. Files may be shared by runs and ranks;
    nothing in them is ever out of date. Features take 4 bytes (2 in half precision) x layers x patches x width: per
    image 4.2 MB and layer for ViT-L/14 at 518 px.

    Args:
        images: what to encode.
        network: encodes them.
        device: that the network is on.
        where: ``memory``, or a folder.
        dtype: ``float32``, which changes nothing; or ``float16``, half the room.
        preprocessing: settings of the run that change an image beside the detector's, such as the window.

    Raises:
        ConfigurationError: the type is unknown, the folder cannot be written to or is full, or (when an item is taken)
            a file is gone or damaged.
    """

    def __init__(
        self,
        images: LabelledImages | ProceduralImages,
        network: PromptTraining,
        device: torch.device | str,
        where: str | Path = "memory",
        dtype: str = "float32",
        **preprocessing: Any,
    ) -> None:
        if dtype not in _DTYPES:
            raise ConfigurationError(f"cache_dtype={dtype!r} is unknown: choose one of {', '.join(_DTYPES)}")
        self._dtype = _DTYPES[dtype]
        self._held: dict[int, dict[str, Tensor]] = {}
        self._files: list[Path] | None = None
        missing = list(range(len(images)))
        if where != "memory":
            folder = Path(where).expanduser()
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigurationError(f"{folder}: features cannot be kept there ({error.strerror})") from None
            image_side = {"package_version": __version__, **network.detector.image_side()}
            common = image_side | {"dtype": dtype, "preprocessing": preprocessing}
            self._files = [folder / f"{_key(common, images.identity(i))}.safetensors" for i in missing]
            # Files are there for all ranks, so each makes its part of them; and for all processes that run at the same
            # time, which in different orders hardly ever make the same one.
            rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
            missing = [i for i in missing[rank::ranks] if not self._files[i].exists()]
            random.Random(secrets.token_bytes(8)).shuffle(missing)
        self._images = images
        self._encode(images, missing, network, torch.device(device))
        if dist.is_initialized():
            dist.barrier()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Item:
        tensors = self._read(self._files[index]) if self._files else dict(self._held[index])
        known = {name: tensors.pop(name) for name in _TARGETS}
        return {"features": tensors, **known, **self._images.about(index)}

    def _encode(
        self,
        images: LabelledImages | ProceduralImages,
        missing: list[int],
        network: PromptTraining,
        device: torch.device,
    ) -> None:
        for first in trange(0, len(missing), _BATCH, unit="batch", desc="features", disable=not missing):
            chosen = [i for i in missing[first : first + _BATCH] if not (self._files and self._files[i].exists())]
            if not chosen:
                continue
            batch = default_collate([images[i] for i in chosen])
            features = network.encode(batch["image"].to(device))
            made = {
                **{name: values.to(self._dtype).cpu() for name, values in features.items()},
                "mask": batch["mask"] > 0.5,
                "label": batch["label"],
                "known": batch["known"],
            }
            for row, index in enumerate(chosen):
                self._keep(index, {name: values[row].clone() for name, values in made.items()})

    @staticmethod
    def _read(path: Path) -> dict[str, Tensor]:
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise ConfigurationError(
                f"{path}: kept features cannot be read ({error}): remove the file, if it is there, and run again"
            ) from None

    def _keep(self, index: int, item: dict[str, Tensor]) -> None:
        if self._files is None:
            self._held[index] = item
            return
        # Moved into place when complete: a killed run, or another rank at the same file, leaves no half of one.
        aside = self._files[index].with_suffix(f".{secrets.token_hex(8)}.partial")
        try:
            save_file(item, aside)
            aside.replace(self._files[index])
        except (OSError, SafetensorError) as error:
            aside.unlink(missing_ok=True)
            raise ConfigurationError(f"{aside.parent}: features cannot be kept there ({error})") from None


def cached(
    images: LabelledImages | ProceduralImages | None,
    network: PromptTraining,
    device: torch.device | str,
    where: str | Path | None,
    dtype: str = "float32",
    **preprocessing: Any,
) -> Dataset[Item] | None:
    """The images, or where a cache is wanted their features, see :class:`CachedFeatures`.

    Args:
        images: what to encode; None stays None.
        network: encodes them.
        device: that the network is on.
        where: ``memory``, or a folder; None for no cache.
        dtype: ``float32``, which changes nothing; or ``float16``, half the room.
        preprocessing: settings of the run that change an image beside the detector's, such as the window.

    Raises:
        ConfigurationError: the type is unknown, or the folder cannot be written to.

    Examples:
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.engines import PromptTraining, cached, training_images
        >>> images = training_images("", "", "", dict, procedural=2, size=42)
        >>> network = PromptTraining(create_model("untrained", image_size=42, feature_layers=24))
        >>> kept = cached(images, network, "cpu", where="features", dtype="float16")
        >>> {name: tuple(values.shape) for name, values in kept[0]["features"].items()}
        {'image_features': (96,), 'patch_features': (1, 9, 96)}
        >>> len(list(Path("features").iterdir()))
        2
    """
    if images is None or where is None:
        return images
    return CachedFeatures(images, network, device, where, dtype, **preprocessing)


def _key(common: dict[str, Any], identity: Any) -> str:
    return hashlib.sha256(json.dumps([common, identity], sort_keys=True).encode()).hexdigest()
