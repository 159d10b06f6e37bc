"""How files come into being."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replaced(path: Path) -> Iterator[IO[str]]:
    """A text file that takes another's place when it is complete.

    UTF-8, lines end as they are written. A file name that is no Unicode on its own system is written escaped.
    """
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        yield file
    partial.replace(path)
