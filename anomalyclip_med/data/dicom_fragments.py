"""Looks over the fragments of compressed DICOM pixels: is the file cut, and how large are its pictures (PS3.5 A.4)?"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

_ITEM = struct.Struct("<HHI")
_ITEM_TAG = (0xFFFE, 0xE000)
_JPEG_START, _J2K_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
# JPEG's frame headers (ISO 10918-1 table B.1: SOF0 to SOF15 without DHT, JPG and DAC) and that of JPEG-LS.
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Fragments:
    """What encapsulated pixel data is made of.

    Attributes:
        whole: number of fragments, without the offset table, before the file is cut off; None where it is not.
        sizes: the (rows, columns) that the pictures themselves give, of which several decoders read no more than the
            total.
    """

    whole: int | None
    sizes: frozenset[tuple[int, int]]


def survey_fragments(stream: BinaryIO) -> Fragments:
    """Walk over the fragments of encapsulated pixel data.

    Args:
        stream: a file, at its basic offset table item; its position is lost.
    """
    position = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    items, sizes = 0, set()
    whole = None
    while end - position >= _ITEM.size:
        stream.seek(position)
        group, element, length = _ITEM.unpack(stream.read(_ITEM.size))
        if (group, element) != _ITEM_TAG:
            break
        position += _ITEM.size + length
        if position > end:
            whole = max(items - 1, 0)
            break
        with suppress(struct.error):  # a fragment that ends inside of its header fails when it is decoded
            if items and (size := _codestream_size(stream, position)):
                sizes.add(size)
        items += 1
    return Fragments(whole, frozenset(sizes))


def _codestream_size(stream: BinaryIO, end: int) -> tuple[int, int] | None:
    """Return the (rows, columns) of the JPEG, JPEG-LS or JPEG 2000 picture that starts here, None for anything else."""
    start = stream.read(4)
    if start == _J2K_START:  # ISO 15444-1 A.5.1: lengths, capabilities, then the picture's far and near corner
        x1, y1, x0, y0 = struct.unpack(">4x4I", stream.read(20))
        return y1 - y0, x1 - x0
    if start[:2] != _JPEG_START:
        return None
    stream.seek(-2, os.SEEK_CUR)
    while stream.tell() < end:
        prefix, marker, length = struct.unpack(">BBH", stream.read(4))
        if prefix == marker == 0xFF:  # fill bytes (ISO 10918-1 B.1.1.2)
            stream.seek(-3, os.SEEK_CUR)
            continue
        if prefix != 0xFF or length < 2:
            return None
        if marker in _FRAME_MARKERS:
            rows, columns = struct.unpack(">xHH", stream.read(5))
            return rows, columns  # no rows: they are counted after the first scan, for which libjpeg searches endlessly
        stream.seek(length - 2, os.SEEK_CUR)
    return None
