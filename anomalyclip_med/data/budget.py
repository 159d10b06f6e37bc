"""Limits on what a header may make the readers allocate: a few bytes of header can ask for terabytes."""

from __future__ import annotations

import zlib
from pathlib import Path

from anomalyclip_med.errors import ScanError

MAX_FRAME_BYTES = 1 << 30
"""Largest decoded slice or frame: 1 GiB."""

WORKING_BYTES = 4
"""Bytes that one sample of a frame takes at least while it is read, as float32 or in the decoders of JPEG."""

MAX_SCAN_BYTES = 4 << 30
"""Largest decoded volume, page stack or multi-frame object: 4 GiB."""

MAX_FRAMES = 1 << 17
"""Most slices or frames in one file, however small they are."""

MAX_INFLATED_BYTES = 512 << 20
"""Largest inflated data set of a deflated DICOM file, which cannot be read in parts: 512 MiB."""

_CHUNK_BYTES = 1 << 20
_DEFLATE_RATIO = 1032
"""The most bytes that one byte of a deflate stream can stand for."""


def check_size(path: Path, frame_bytes: int, frames: int = 1) -> None:
    """Refuse pixels that are larger than the limits, before anything is allocated for them.

    Args:
        path: the file, for the message.
        frame_bytes: decoded bytes of one slice or frame.
        frames: number of slices or frames that the file declares.

    Raises:
        ScanError: a frame is larger than `MAX_FRAME_BYTES`, all of them than `MAX_SCAN_BYTES`, or there
            are more than `MAX_FRAMES`.
    """
    if frame_bytes > MAX_FRAME_BYTES:
        raise ScanError(f"{path}: a frame of {frame_bytes / 2**30:.1f} GiB is over the limit of 1 GiB per frame")
    if frames > MAX_FRAMES:
        raise ScanError(f"{path}: {frames} frames are over the limit of {MAX_FRAMES}")
    if frame_bytes * frames > MAX_SCAN_BYTES:
        raise ScanError(
            f"{path}: {frames} frames of {frame_bytes * frames / 2**30:.1f} GiB in all are over the limit of 4 GiB"
        )


def check_stored(path: Path, needed: int, compressed: bool) -> None:
    """Refuse a file that is too small for the pixels that its header declares, before memory is taken for them.

    Args:
        path: the file that holds the pixels.
        needed: decoded bytes of all pixels.
        compressed: they may be deflated.

    Raises:
        ScanError: the file cannot hold them.
    """
    if path.stat().st_size * (_DEFLATE_RATIO if compressed else 1) < needed:
        raise ScanError(f"{path}: the voxels cannot be read, the file is smaller than its header says: copy it again")


def check_inflated_size(path: Path, offset: int) -> None:
    """Refuse a raw deflate stream that inflates to more than `MAX_INFLATED_BYTES`, in constant memory.

    Args:
        path: the file.
        offset: where the stream starts.

    Raises:
        ScanError: the inflated data would be over the limit.
        zlib.error: the stream is damaged.
    """
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    with path.open("rb") as stream:
        stream.seek(offset)
        pending = stream.read(_CHUNK_BYTES)
        while pending and not inflate.eof:
            total += len(inflate.decompress(pending, _CHUNK_BYTES))
            if total > MAX_INFLATED_BYTES:
                raise ScanError(f"{path}: the deflated data set inflates to more than 512 MiB")
            pending = inflate.unconsumed_tail or stream.read(_CHUNK_BYTES)
