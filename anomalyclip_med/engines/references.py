"""Normal images that a detector compares patches with: read, encoded once and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from monai.transforms import Compose
from monai.utils import ensure_tuple

from anomalyclip_med.data.discovery import find_scans
from anomalyclip_med.data.slicing import Plane
from anomalyclip_med.engines.training import PromptTraining
from anomalyclip_med.errors import ConfigurationError, ScanError
from anomalyclip_med.networks import Detector
from anomalyclip_med.transforms import CropRegiond, LoadSliced, ResizeSliced
from anomalyclip_med.weights import file_sha256

MOST_IMAGES = 32
"""Held at once; a few are meant."""
_BATCH = 8


def remember(
    detector: Detector,
    references: str | Path | Sequence[str | Path] | None,
    load: LoadSliced,
    device: torch.device | str,
    plane: Plane | str = Plane.AUTO,
) -> None:
    """Show a detector normal images, see :meth:`anomalyclip_med.networks.Detector.remember`.

    Args:
        detector: which is moved to the device.
        references: files and folders of whatever can be scored, every slice of which is normal; None for none.
        load: reads a slice, as those that are to be scored are read.
        device: to encode on.
        plane: the slices to cut of volumes.

    Raises:
        ConfigurationError: there is no image, or more than `MOST_IMAGES`; or the method takes none.
        ScanError: a path does not exist, or a file cannot be read.

    Examples:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.engines import remember
        >>> from anomalyclip_med.transforms import LoadSliced
        >>> Image.fromarray(np.zeros((80, 80), np.uint8)).save("normal.png")
        >>> detector = create_model("untrained", image_size=42)
        >>> remember(detector, "normal.png", LoadSliced("image"), "cpu")
        >>> len(detector.references), detector.memory.patches.shape  # (layers, patches, width)
        (1, torch.Size([4, 9, 96]))
    """
    if references is None:
        return
    scans, skipped = find_scans([Path(str(path)).expanduser() for path in ensure_tuple(references)], Plane(plane))
    if broken := [f"{file.shown}: {file.reason}" for file in skipped if file.unreadable]:
        raise ScanError(f"references: {broken[0]}")
    items = [{"image": scan, "slice": info.index} for scan in scans for info in scan.slices]
    if not 1 <= len(items) <= MOST_IMAGES:
        raise ConfigurationError(f"references={references!r}: {len(items)} images or slices; give 1 to {MOST_IMAGES}")
    read = Compose([load, CropRegiond("image"), ResizeSliced("image", detector.image_size)])
    images = []
    for item in map(read, items):
        if item["failure"]:
            raise ScanError(f"references: {item['failure']}")
        images.append(item["image"].as_tensor())
    network = PromptTraining(detector).to(device)
    encoded = [network.encode(batch.to(device)) for batch in torch.stack(images).split(_BATCH)]
    features = {name: torch.cat([batch[name] for batch in encoded]) for name in encoded[0]}
    detector.remember(features, [file_sha256(file) for scan in scans for file in dict.fromkeys(scan.files)])
