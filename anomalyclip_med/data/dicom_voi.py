"""Tables that DICOM files bring for showing their values (PS3.3 C.11.2.1.1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from anomalyclip_med.data.reading import reading
from anomalyclip_med.data.scan import DisplayTable

# The pixel representation decides whether the descriptor's numbers are signed.
_KEYWORDS = [
    "PixelRepresentation",
    "VOILUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


def voi_item(dataset: Dataset, frame: int) -> Dataset | None:
    """Return the first item of a frame's VOI LUT Sequence: the frame's own, the shared one, or the file's."""
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    for group in (*per_frame, *shared):
        for voi in list(group.get("FrameVOILUTSequence") or [])[:1]:
            if voi.get("VOILUTSequence"):
                return voi.VOILUTSequence[0]
    return dataset.VOILUTSequence[0] if dataset.get("VOILUTSequence") else None


def read_voi_table(path: Path, frame: int, mirror: float | None) -> DisplayTable:
    """Read the VOI table of a file that `voi_item` finds one in.

    Args:
        path: the file.
        frame: number of the frame, from 0.
        mirror: the sum of a rescaled value and its inverted one, where `read_frame` inverts the values; the table
            then is turned likewise.

    Raises:
        ScanError: the table is damaged.
    """
    with reading(path, "the VOI table cannot be read"):
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=_KEYWORDS, force=True)
        item = voi_item(dataset, frame)
        assert item is not None
        entries, first, bits = (int(v) for v in item.LUTDescriptor)
        entries = entries or 1 << 16
        data = item.LUTData
        if isinstance(data, bytes):
            words = np.frombuffer(data, dtype="<u2" if dataset.original_encoding[1] else ">u2")
        else:
            words = np.asarray(data, dtype=np.uint16)
        # Entries of 8 bits may be packed two to a word, the earlier one in its low byte.
        table = words if words.size >= entries else words.astype("<u2").view(np.uint8)
        if table.size < entries:
            raise ValueError("too short")
        shown = table[:entries].astype(np.float32) / np.float32(max((1 << bits) - 1, int(table[:entries].max()), 1))
    if mirror is None:
        return DisplayTable(float(first), shown)
    return DisplayTable(mirror - (first + entries - 1), 1 - shown[::-1])
