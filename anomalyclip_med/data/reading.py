"""The one place where foreign exceptions become `ScanError`."""

from __future__ import annotations

import logging
import threading
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
    with _silence:
        try:
            yield
        except (ScanError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic of a decoder written in Rust is no Exception
            raise ScanError(f"{path}: {problem} ({type(error).__name__})") from None


class _Silence:
    """Lasts while any thread reads, as filters and levels are those of the process: no thread ends that of another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._before = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._before.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                for library in _TALKATIVE:
                    logger = logging.getLogger(library)
                    self._before.callback(logger.setLevel, logger.level)
                    logger.setLevel(logging.CRITICAL + 1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._before.close()


_silence = _Silence()
