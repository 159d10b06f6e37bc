"""Finds the cut in truncated compressed DICOM files, which several decoders pass over (PS3.5 A.4)."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_ITEM = struct.Struct("<HHI")
_ITEM_TAG = (0xFFFE, 0xE000)


def whole_fragments(stream: BinaryIO) -> int | None:
    """Count the fragments of encapsulated pixel data that end within the file.

    Args:
        stream: a file, at its basic offset table item; its position is lost.

    Returns:
        The number of whole fragments, without the offset table, if the file ends inside of one; else None.
    """
    position = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    items = 0
    while end - position >= _ITEM.size:
        stream.seek(position)
        group, element, length = _ITEM.unpack(stream.read(_ITEM.size))
        if (group, element) != _ITEM_TAG:
            return None
        position += _ITEM.size + length
        if position > end:
            return max(items - 1, 0)
        items += 1
    return None
