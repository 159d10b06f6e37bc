"""Files that end in the SHA-256 of all that stands before it: damage and changes show, and reading once is enough."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Any

from anomalyclip_med.errors import WeightsError

EMPTY = b"0" * 64
"""What stands at the end of a file that is to be sealed."""
_CHUNK = 2**20


def seal(path: Path) -> None:
    """Put the SHA-256, in hexadecimal, into the last 64 bytes of a file."""
    with path.open("r+b") as stream:
        digest = _content_digest(stream)
        stream.seek(-len(EMPTY), os.SEEK_END)
        stream.write(digest.hexdigest().encode())


def check_seal(path: Path) -> str:
    """See that a file is as it was sealed.

    Returns:
        SHA-256 of the whole file.

    Raises:
        WeightsError: it is not.
    """
    with path.open("rb") as stream:
        digest = _content_digest(stream)
        end = stream.read()
    if end != digest.hexdigest().encode():
        raise WeightsError(
            f"{path}: not as 'anomalyclip-med export' writes a detector: damaged, cut short, changed since, or from "
            "elsewhere; copy or export it again"
        )
    digest.update(end)
    return digest.hexdigest()


def _content_digest(stream: IO[bytes]) -> Any:
    """SHA-256 of all but the last 64 bytes, at which the stream then stands."""
    digest = hashlib.sha256()
    left = stream.seek(0, os.SEEK_END) - len(EMPTY)
    stream.seek(0)
    while left > 0 and (chunk := stream.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    return digest
