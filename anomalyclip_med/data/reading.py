"""The one place where foreign exceptions become `ScanError`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from anomalyclip_med.errors import ScanError

_TALKATIVE = ("pydicom", "highdicom", "tifffile", "nibabel")
"""Libraries that log what they find in headers."""


@contextmanager
def reading(path: Path, problem: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a `ScanError` that names the file.

    A decoder's own text, warnings and log records may quote header values, so of them only the exception's type is
    kept.

    Args:
        path: the file that is being read.
        problem: what an exception means here, in words.

    Raises:
        ScanError: the block raised; a `ScanError` from inside passes unchanged.
    """
    with warnings.catch_warnings(), ExitStack() as silence:
        for library in _TALKATIVE:
            silence.enter_context(_silenced(library))
        warnings.simplefilter("ignore")
        try:
            yield
        except (ScanError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic of a decoder written in Rust is no Exception
            raise ScanError(f"{path}: {problem} ({type(error).__name__})") from None


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
