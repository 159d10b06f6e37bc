"""What a data set is made of, once found on disk, and what is odd about it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

SECTIONS = ("training", "validation", "test")
"""Sections of a data list, in the order in which they are written."""


@dataclass(frozen=True)
class Sample:
    """One image.

    Attributes:
        image: the file.
        label: 0 for normal, 1 for anomalous.
        object: what is seen: the class whose metrics are taken together.
        masks: files whose union marks the anomaly; empty where there is none.
        section: one of `SECTIONS`.
        defect: the publisher's name for the kind of anomaly, "" where there is none.
        group: what belongs together and must not be split (patient, sequence, part), "" where it is not known.
    """

    image: Path
    label: int
    object: str
    masks: tuple[Path, ...] = ()
    section: str = "test"
    defect: str = ""
    group: str = ""


class Severity(StrEnum):
    """How much a problem matters."""

    NOTE = "note"
    """To be known; the results are those of the publisher's files."""

    WARNING = "warning"
    """Something is missing or contradicts itself: the results may not be what they are taken for."""


@dataclass(frozen=True)
class Problem:
    """Something about a data set that a user of the results should know.

    Attributes:
        kind: a name to look for, such as "mask-missing".
        detail: a sentence.
        files: the files concerned.
        severity: how much it matters.
    """

    kind: str
    detail: str
    files: tuple[Path, ...] = ()
    severity: Severity = Severity.WARNING


@dataclass
class Listing:
    """What a layout finds in a folder.

    Attributes:
        samples: the images.
        problems: what did not fit.
        reasons: why the files below a folder, or a file, are left out.
    """

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    reasons: dict[Path, str] = field(default_factory=dict)


def note(kind: str, detail: str, files: Iterable[Path] = ()) -> Problem:
    """A problem that is only to be known."""
    return Problem(kind, detail, tuple(files), Severity.NOTE)


def warning(kind: str, detail: str, files: Iterable[Path] = ()) -> Problem:
    """A problem that may change results."""
    return Problem(kind, detail, tuple(files), Severity.WARNING)


def relative(path: Path, root: Path) -> str:
    """A path as data lists hold it: relative to the root, with "/" on every system."""
    return Path(os.path.relpath(path, root)).as_posix()
