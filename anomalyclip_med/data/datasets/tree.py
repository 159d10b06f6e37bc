"""The files below a folder, found once and looked up by names that publishers and re-packers spell differently."""

from __future__ import annotations

import os
import re
from pathlib import Path

from anomalyclip_med.errors import ConfigurationError

_PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".dcm")
"""Files that are taken for pictures; what they really are is told by their content when they are read."""

_OTHER_PICTURES = (".gif", ".webp", ".ppm", ".pgm", ".jp2", ".heic", ".svg", ".psd")
_NOT_DATA = ("__MACOSX", "Thumbs.db", "desktop.ini")


def key(name: str) -> str:
    """A name as letters and digits in lower case: "Ground Truth", "ground_truth" and "GroundTruth" are one."""
    return re.sub(r"[\W_]+", "", name.casefold())


class Tree:
    """All files below a folder. Hidden ones and what archivers add are left aside.

    Args:
        root: the folder.

    Attributes:
        root: the folder.
        pictures: folder to the pictures that lie directly in it, sorted; folders without any are not listed.
        tables: CSV and JSON files.
        unread: pictures of kinds that cannot be read.
        links: folders that are links, which are not followed.

    Raises:
        ConfigurationError: there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ConfigurationError(f"{root}: no such folder; name the one that the data set was unpacked into")
        self.root = root
        self.pictures: dict[Path, list[Path]] = {}
        self.tables: list[Path] = []
        self.unread: list[Path] = []
        self.links: list[Path] = []
        for name, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _NOT_DATA)
            self.links += [Path(name, f) for f in folders if Path(name, f).is_symlink()]
            for file in sorted(files):
                path = Path(name, file)
                suffix = path.suffix.lower()
                if file.startswith(".") or file in _NOT_DATA:
                    continue
                if suffix in _PICTURES:
                    self.pictures.setdefault(path.parent, []).append(path)
                elif suffix in _OTHER_PICTURES:
                    self.unread.append(path)
                elif suffix in (".csv", ".json"):
                    self.tables.append(path)

    def folders(self, pattern: str) -> list[Path]:
        """Folders that hold pictures and whose `key` matches a pattern, the shallowest first."""
        found = [folder for folder in self.pictures if re.fullmatch(pattern, key(folder.name))]
        return sorted(found, key=lambda folder: (len(folder.parts), folder))

    def below(self, folder: Path) -> list[Path]:
        """Folders that hold pictures, at or below a folder."""
        return [f for f in self.pictures if f.is_relative_to(folder)]

    def parts(self, path: Path) -> list[str]:
        """The keys of a path's folders below the root, the root's own name included, outermost first."""
        relative = path.relative_to(self.root)
        return [key(part) for part in (self.root.resolve().name, *relative.parts)]

    def section(self, folder: Path) -> str | None:
        """The section that the name of a folder above the pictures tells, if any does."""
        for part in reversed(self.parts(folder)[1:]):
            for section, pattern in _SECTIONS.items():
                if re.fullmatch(pattern, part):
                    return section
        return None

    def table(self, pattern: str) -> Path | None:
        """The shallowest table whose file name matches a pattern, whatever its case."""
        found = [path for path in self.tables if re.fullmatch(pattern, path.name, re.IGNORECASE)]
        return min(found, key=lambda path: (len(path.parts), path), default=None)


_CONTENT = r"(?:data|dataset|set|originals?|images?|imgs?|groundtruths?|masks?|gts?|labels?)?"
_SECTIONS = {
    "training": rf"train(?:ing|val)?{_CONTENT}",
    "validation": rf"val(?:id(?:ation)?)?{_CONTENT}",
    "test": rf"test(?:ing)?{_CONTENT}",
}
