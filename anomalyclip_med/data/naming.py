"""Identifiers and names that tell scans apart and give no patient away."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import PurePath

_MAX_NAME_LENGTH = 160
# Of the run, beside the scans' folders.
_RESERVED = ("scores.csv", "scores.json", "manifest.jsonl", "index.html", "reports")
_COMPOUND_SUFFIXES = (".nii.gz",)


def hash_uid(uid: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a DICOM UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:16]


def split_suffix(path: PurePath) -> tuple[str, str]:
    """Split a file name into stem and lower-case suffix; ".nii.gz" counts as one suffix."""
    for suffix in _COMPOUND_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)], suffix
    return path.stem, path.suffix.lower()


def _safe_name(text: str) -> str:
    """Return `text` as a file name of letters, digits, "_", "." and "-" that is not hidden; long ones end in a hash."""
    name = re.sub(r"[^\w.-]+", "_", text).lstrip(".-") or "scan"
    if len(name) > _MAX_NAME_LENGTH:
        name = f"{name[:_MAX_NAME_LENGTH]}_{hash_uid(text)}"
    return name


def file_name(relative: PurePath) -> str:
    """Return the output name of a file: its path below the searched folder, "/" as "_", no suffix."""
    return _safe_name("_".join((*relative.parent.parts, split_suffix(relative)[0])))


def hashed_name(kind: str, relative: PurePath) -> str:
    """Return a name that stands for a file and tells nothing of it but its kind: "nifti_5f2c1a9be0d4"."""
    return f"{kind}_{hash_uid(relative.as_posix())[:12]}"


def unique_names(names: list[str], suffixes: list[str]) -> list[str]:
    """Make names unique, also on file systems that ignore case.

    Names that collide get their suffix appended ("Y92_jpg" and "Y92_png"), those that still collide a number.

    Args:
        names: file-system safe names.
        suffixes: each one's file suffix (".png"), "" where there is none.

    Returns:
        As many names, in the same order.
    """
    counts = Counter(name.casefold() for name in names)
    taken = set(_RESERVED)
    result = []
    for name, suffix in zip(names, suffixes, strict=True):
        collides = counts[name.casefold()] > 1 and suffix
        base = f"{name}_{suffix.lstrip('.')}" if collides else name
        candidate, number = base, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{base}_{number}"
        taken.add(candidate.casefold())
        result.append(candidate)
    return result
