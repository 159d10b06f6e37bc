"""Ground-truth masks at the model's input size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from anomalyclip_med.data.masks import MaskRule, binary_mask
from anomalyclip_med.errors import ScanError


class LoadMaskd(MapTransform):
    """Read masks, unite them, make them binary and resize them to the model's square input.

    Replaces a :class:`~anomalyclip_med.data.Scan` of one slice, or several that are united, by a tensor (1, S, S) of 0
    and 1, float32; ``None`` by zeros, with ``has_mask`` telling them apart. Stored masks are often not binary (JPEG
    greys, antialiased edges): they are made so by the rule under ``mask_rule``
    (:class:`~anomalyclip_med.data.masks.MaskRule`; without one, at half of the stored range), resized bilinearly with
    antialiasing and cut at 0.5, as the reference does.

    Args:
        keys: keys that hold a scan, several, or None.
        size: side S in pixels.

    Raises:
        ScanError: a mask cannot be read, or the masks of an image differ in size.

    Examples:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from anomalyclip_med.data.discovery import open_picture
        >>> Image.fromarray(np.eye(2, dtype=np.uint8) * 255).save("mask.png")
        >>> LoadMaskd("mask", size=4)({"mask": open_picture(Path("mask.png"))})["mask"]
        tensor([[[1., 1., 0., 0.], [1., 1., 0., 0.], [0., 0., 1., 1.], [0., 0., 1., 1.]]])
    """

    def __init__(self, keys: KeysCollection, size: int) -> None:
        super().__init__(keys)
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the masks."""
        d = dict(data)
        rule = MaskRule(d.get("mask_rule") or MaskRule.HALF)
        for key in self.key_iterator(d):
            scans = () if d[key] is None else ensure_tuple(d[key])
            d["has_mask"] = bool(scans)
            d[key] = torch.zeros(1, self.size, self.size)
            if scans:
                for scan in scans[1:]:
                    if scan.shape != scans[0].shape:
                        raise ScanError(f"{scan.source}: {scan.shape[:2]} pixels, but {scans[0].source} differs")
                binary = np.logical_or.reduce([binary_mask(scan, rule) for scan in scans])
                resized = F.interpolate(
                    torch.from_numpy(binary)[None, None].float(),
                    size=(self.size, self.size),
                    mode="bilinear",
                    antialias=True,
                )
                d[key] = (resized[0] > 0.5).float()
        return d
