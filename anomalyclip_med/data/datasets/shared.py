"""Images that two data sets have in common."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path

from anomalyclip_med.data.datasets.samples import SECTIONS
from anomalyclip_med.errors import ConfigurationError

_CHUNK = 1 << 20


def shared_files(list_a: str | Path, list_b: str | Path) -> list[tuple[str, str]]:
    """Find the images of two data lists whose files are equal byte by byte.

    Pictures that were stored anew, with the same content or nearly so, are not found.

    Args:
        list_a: a data list as `prepare` writes it, or any; without SHA-256 in it, images are read from beside it.
        list_b: the other one.

    Returns:
        Pairs of paths as the two lists have them, sorted.

    Raises:
        ConfigurationError: a list, or an image without a SHA-256, cannot be read.

    Examples:
        >>> for name, images in (("a", {"one.png": "ab", "two.png": "cd"}), ("b", {"copy.png": "cd"})):
        ...     entries = [{"image": image, "sha256": digest} for image, digest in images.items()]
        ...     _ = Path(f"{name}.json").write_text(json.dumps({"test": entries}))
        >>> shared_files("a.json", "b.json")
        [('two.png', 'copy.png')]
    """
    first, second = listed_hashes(Path(list_a).expanduser()), listed_hashes(Path(list_b).expanduser())
    return sorted((a, b) for digest in first.keys() & second.keys() for a in first[digest] for b in second[digest])


def listed_hashes(path: Path) -> dict[str, list[str]]:
    """SHA-256 to the images of a data list that have it, by the paths that stand there.

    Raises:
        ConfigurationError: the list, or an image without a SHA-256, cannot be read.
    """
    found: dict[str, list[str]] = defaultdict(list)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for section in SECTIONS:
            for entry in content.get(section, []):
                found[entry.get("sha256") or hash_file(path.parent / entry["image"])].append(entry["image"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"{path}: not a readable data list with its images ({error})") from None
    return found


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
