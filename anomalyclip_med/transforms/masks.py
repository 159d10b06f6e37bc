"""Ground-truth masks at the model's input size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform


class LoadMaskd(MapTransform):
    """Read a mask, resize it to the model's square input and make it binary.

    Replaces a :class:`~anomalyclip_med.data.Scan` of one slice by a tensor (1, S, S) of 0 and 1, float32; ``None`` by
    zeros, with ``has_mask`` telling them apart. Stored masks are often not binary (JPEG greys, antialiased edges): they
    are cut at half of the stored range, resized bilinearly with antialiasing and cut at 0.5, as the reference does.

    Args:
        keys: keys that hold a scan or None.
        size: side S in pixels.

    Raises:
        ScanError: the mask cannot be read.
    """

    def __init__(self, keys: KeysCollection, size: int) -> None:
        super().__init__(keys)
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the masks."""
        d = dict(data)
        for key in self.key_iterator(d):
            scan = d[key]
            d["has_mask"] = scan is not None
            d[key] = torch.zeros(1, self.size, self.size)
            if scan is not None:
                pixels = torch.as_tensor(scan.read_slice(0), dtype=torch.float32)
                pixels = pixels.amax(dim=-1) if pixels.ndim == 3 else pixels
                top = scan.stored_range[1] if scan.stored_range else float(pixels.max())
                # Masks of 0 and 1 in an 8-bit file are meant to be binary, too.
                binary = pixels > (top / 2 if pixels.max() > 1 else 0.5)
                resized = F.interpolate(
                    binary[None, None].float(), size=(self.size, self.size), mode="bilinear", antialias=True
                )
                d[key] = (resized[0] > 0.5).float()
        return d
