"""Ways in which data sets are laid out in folders, each a small object with the names it goes by.

A layout's ``find`` returns what it finds in a `Tree`, or None where the folder is not laid out like that.
"""

from __future__ import annotations

import filecmp
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from anomalyclip_med.data.datasets.pairing import MASK_NAME, base_name, fold, pair, without_mask
from anomalyclip_med.data.datasets.samples import Listing, Problem, Sample, note, warning
from anomalyclip_med.data.datasets.tree import Tree, key
from anomalyclip_med.errors import ConfigurationError

_SECTION = r"(?:train(?:ing|val)?|val(?:id(?:ation)?)?|test(?:ing)?)?"
IMAGES = rf"{_SECTION}(?:originals?|images?|imgs?)"
MASKS = rf"{_SECTION}(?:groundtruths?|masks?|gts?|labels?|annotations?)"

_SECTION_FOLDERS = {"train": "training", "val": "validation", "validation": "validation", "test": "test"}

Grouping = Callable[[Tree, Iterable[Path]], dict[Path, str]]
"""Finds what belongs together: a tree and its images to each image's group."""


class Layout(Protocol):
    """A way in which files lie in folders."""

    @property
    def text(self) -> str:
        """What it looks like, for people."""
        ...

    def find(self, tree: Tree) -> Listing | None:
        """List a data set.

        Raises:
            ConfigurationError: it is ambiguous which folders are meant.
        """
        ...


@dataclass(frozen=True)
class FolderPair:
    """A folder of images and one of masks, by patterns of their `key`, and the section they make.

    Without a section, a folder above them tells it ("train", "val", "test"), and else they are a test set.
    """

    images: str = IMAGES
    masks: str = MASKS
    section: str | None = None


@dataclass(frozen=True)
class PairedFolders:
    """Images in one folder, masks in another one near it; every image is anomalous.

    Attributes:
        text: what it looks like.
        object: the class.
        pairs: the folders; of pairs for the same section the first one found is taken.
        hint: pattern that a folder above must match where several data sets lie side by side.
        unlike: pattern of folders above that belong to another data set of the same layout.
        mask_name: how a mask's stem is made from its image's.
        ignore: pattern of image stems that are something else.
        grouping: finds what belongs together.
    """

    text: str
    object: str
    pairs: tuple[FolderPair, ...] = (FolderPair(),)
    hint: str = ""
    unlike: str = ""
    mask_name: str = MASK_NAME
    ignore: str | None = None
    grouping: Grouping | None = None

    def find(self, tree: Tree) -> Listing | None:
        """List the pairs."""
        chosen: dict[str, tuple[Path, Path]] = {}
        others: list[Path] = []
        for folders in self.pairs:
            for section, images, masks in self._matches(tree, folders):
                if section in chosen:
                    others += [images, masks]
                else:
                    chosen[section] = images, masks
        if not chosen:
            return None
        listing = Listing()
        for folder in others:
            listing.reasons[folder] = "the same images in another format, or another part of the data set"
        for section, (images, masks) in chosen.items():
            self._list(tree, section, images, masks, listing)
        return listing

    def _matches(self, tree: Tree, folders: FolderPair) -> list[tuple[str, Path, Path]]:
        masks = tree.folders(folders.masks)
        found = []
        others = False
        for images in tree.folders(folders.images):
            partner = nearest(tree, images, [m for m in masks if m != images])
            foreign = self._depth(tree, images, self.unlike)
            if partner is not None and foreign and foreign >= self._depth(tree, images, self.hint):
                others = True
            elif partner is not None:
                found.append((images, partner))
        if self.hint and (others or len(found) > 1):
            # Several data sets side by side, as in collections of polyps: only the one that is asked for.
            named = [p for p in found if self._depth(tree, p[0], self.hint)]
            found = named if named or others else found
        sections: dict[str, list[tuple[Path, Path]]] = defaultdict(list)
        for images, partner in found:
            sections[folders.section or tree.section(images) or "test"].append((images, partner))
        result = []
        for section, pairs in sections.items():
            # One data set in several formats: PNG is what the others were made for.
            pairs.sort(key=lambda p: ("png" not in tree.parts(p[0]), p))
            if len({_without_format(tree, images) for images, _ in pairs}) > 1:
                names = ", ".join(str(images.relative_to(tree.root)) for images, _ in pairs)
                raise ConfigurationError(
                    f"{tree.root}: several folders of images ({names}); name the one that is meant"
                )
            result += [(section, *p) for p in pairs]
        return result

    @staticmethod
    def _depth(tree: Tree, folder: Path, pattern: str) -> int:
        """How deep below the root the last folder lies that matches a pattern, 0 if there is none."""
        parts = tree.parts(folder)[1:] if pattern else []
        return max((depth for depth, part in enumerate(parts, 1) if re.search(pattern, part)), default=0)

    def _list(self, tree: Tree, section: str, images: Path, masks: Path, listing: Listing) -> None:
        files = []
        for image in tree.pictures[images]:
            if self.ignore and re.fullmatch(self.ignore, image.stem, re.IGNORECASE):
                listing.reasons[image] = "not an image of the data set, but made from one"
            else:
                files.append(image)
        pairs, problems = pair(files, tree.pictures[masks], self.mask_name)
        listing.problems += problems
        missing = [image for image, own in pairs.items() if not own]
        listing.problems += without_mask(missing)
        groups = self.grouping(tree, pairs) if self.grouping else {}
        listing.samples += [
            Sample(image, 1, self.object, own, section, group=groups.get(image, "")) for image, own in pairs.items()
        ]


@dataclass(frozen=True)
class OneFolder:
    """Images and masks side by side in a folder, told apart by their names.

    Attributes:
        text: what it looks like.
        object: the class.
        mask_name: pattern of a mask's stem, with the image's stem as its group.
        ignore: pattern of stems that are neither.
    """

    text: str
    object: str
    mask_name: str = MASK_NAME
    ignore: str | None = None

    def find(self, tree: Tree) -> Listing | None:
        """List the images that have their mask beside them; every image is anomalous."""
        listing = Listing()
        for folder in tree.folders(".*"):
            images, masks, ignored = split_by_name(tree.pictures[folder], self.mask_name, self.ignore)
            if not masks:
                continue
            listing.reasons |= dict.fromkeys(ignored, "neither an image nor a mask of the data set")
            pairs, problems = pair(images, masks, self.mask_name)
            listing.problems += problems
            missing = [image for image, own in pairs.items() if not own]
            listing.problems += without_mask(missing)
            section = tree.section(folder) or "test"
            listing.samples += [Sample(image, 1, self.object, own, section) for image, own in pairs.items()]
        return listing if listing.samples else None


def split_by_name(
    files: Sequence[Path], mask_name: str, ignore: str | None = None
) -> tuple[list[Path], list[Path], list[Path]]:
    """Split the pictures of one folder into images, masks and others.

    A mask is one whose image lies beside it; where there are such, so is one that is only named so: its image is lost.
    """
    images: list[Path] = []
    masks: list[Path] = []
    others: list[Path] = []
    stems = {fold(f.stem) for f in files}
    for file in files:
        if ignore and re.fullmatch(ignore, file.stem, re.IGNORECASE):
            others.append(file)
        else:
            (masks if base_name(file.stem, mask_name) in stems else images).append(file)
    if masks:
        bases = {base_name(mask.stem, mask_name) for mask in masks}
        lost = [i for i in images if base_name(i.stem, mask_name) and fold(i.stem) not in bases]
        images, masks = [i for i in images if i not in lost], masks + lost
    return images, masks, others


@dataclass(frozen=True)
class ClassFolders:
    """A folder of images per label, its images in it or in ``images`` below it. Case does not matter.

    Attributes:
        text: what it looks like.
        object: the class.
        normal: pattern of the normal folder's `key`.
        anomalous: pattern of the anomalous folders' `key`.
        left_out: pattern of the `key` of folders beside or below them to the reason why they are not used.
        mask_name: of masks that lie beside their image; None if there are none.
        together: whether several folders with classes make one set, instead of being a mistake.
    """

    text: str
    object: str
    normal: str
    anomalous: str
    left_out: dict[str, str] = field(default_factory=dict)
    mask_name: str | None = None
    together: bool = False

    def find(self, tree: Tree) -> Listing | None:
        """List the classes."""
        sides: dict[Path, dict[Path, int]] = defaultdict(dict)  # above the classes: folder of a class, its label
        for folder in tree.pictures:
            above = folder.parent if re.fullmatch(IMAGES, key(folder.name)) and folder != tree.root else folder
            if any(re.fullmatch(p, part) for p in self.left_out for part in tree.parts(folder)[1:]):
                continue
            for label, pattern in enumerate((self.normal, self.anomalous)):
                if above != tree.root and re.fullmatch(pattern, key(above.name)):
                    sides[above.parent][folder] = label
        if not sides:
            return None
        listing = Listing()
        complete = [above for above, found in sides.items() if len(set(found.values())) == 2]
        seen: dict[Path, dict[str, Path]] = {}
        sections: dict[str, Path] = {}
        for above in sorted(complete or sides, key=lambda path: (len(path.parts), path)):
            files = {p.relative_to(above).as_posix().casefold(): p for f in sides[above] for p in tree.pictures[f]}
            first = next((place for place, known in seen.items() if _equal(files, known)), None)
            if first is not None:
                listing.reasons |= dict.fromkeys(sides[above], f"a second copy of {_relative(first, tree)}")
                continue
            seen[above] = files
            section = tree.section(above) or "test"
            if section in sections and not self.together:
                raise ConfigurationError(
                    f"{tree.root}: classes both in {_relative(sections[section], tree)} and in "
                    f"{_relative(above, tree)}; name the folder that is meant"
                )
            sections[section] = above
            self._list(tree, sides[above], section, listing)
        for folder in tree.pictures:
            for pattern, reason in self.left_out.items():
                if any(re.fullmatch(pattern, part) for part in tree.parts(folder)[1:]):
                    listing.reasons[folder] = reason
        return listing

    def _list(self, tree: Tree, folders: dict[Path, int], section: str, listing: Listing) -> None:
        for label, name in enumerate(("normal", "anomalous")):
            if label not in folders.values():
                expected = (self.normal, self.anomalous)[label].replace("|", " or ")
                detail = f"no folder of {name} images ({expected}): image metrics need both"
                listing.problems.append(warning("class-missing", detail))
        for folder, label in sorted(folders.items(), key=lambda item: (item[1], item[0])):
            images = tree.pictures[folder]
            masks: list[Path] = []
            if self.mask_name:
                images, masks, _ = split_by_name(images, self.mask_name)
            pairs, problems = pair(images, masks, self.mask_name or MASK_NAME)
            listing.problems += problems
            above = folder.parent if re.fullmatch(IMAGES, key(folder.name)) else folder
            missing = [image for image, own in pairs.items() if label and self.mask_name and not own]
            listing.problems += without_mask(missing)
            defect = above.name if label else ""
            listing.samples += [Sample(i, label, self.object, own, section, defect) for i, own in pairs.items()]


@dataclass(frozen=True)
class ObjectFolders:
    """MVTec AD's layout: ``OBJECT/train/good``, ``OBJECT/test/DEFECT`` and ``OBJECT/ground_truth/DEFECT``.

    Attributes:
        text: what it looks like.
        object: the class, instead of the folder's name; then there is one folder of objects only.
        normal: pattern of the `key` of folders of normal images.
        truth: pattern of the `key` of the folder of masks, in which they lie by defect or all together.
    """

    text: str
    object: str | None = None
    normal: str = "good|ok"
    truth: str = r"groundtruth|masks?|gt"

    def find(self, tree: Tree) -> Listing | None:
        """List the objects."""
        objects: dict[Path, list[tuple[str, Path]]] = defaultdict(list)
        for folder in tree.pictures:
            section = _SECTION_FOLDERS.get(key(folder.parent.name))
            if section and folder.parent != tree.root and not re.fullmatch(f"{IMAGES}|{MASKS}", key(folder.name)):
                objects[folder.parent.parent].append((section, folder))
        known = (self.normal, self.truth)
        if not any(
            re.fullmatch(p, k) for place in objects for f in tree.below(place) for k in _keys(f, place) for p in known
        ):
            return None
        listing = Listing()
        if self.object:
            listing.problems += self._check_one(tree, list(objects))
        for place, found in sorted(objects.items()):
            name = self.object or place.resolve().name
            truths = [f for f in tree.below(place) if any(re.fullmatch(self.truth, p) for p in _keys(f, place))]
            shared = self._masks_together(tree, [folder for _, folder in found], truths, listing)
            for section, folder in sorted(found):
                anomalous = not re.fullmatch(self.normal, key(folder.name))
                own = [t for t in truths if key(t.name) == key(folder.name)]
                images, beside, _ = split_by_name(tree.pictures[folder], MASK_NAME)
                pairs, problems = pair(images, beside + [m for t in own for m in tree.pictures[t] if anomalous])
                listing.problems += problems
                pairs = {image: m + shared.get(image, ()) for image, m in pairs.items()}
                missing = [image for image, m in pairs.items() if anomalous and not m]
                listing.problems += without_mask(missing) if truths or beside else []
                defect = folder.name if anomalous else ""
                listing.samples += [Sample(i, int(anomalous), name, m, section, defect) for i, m in pairs.items()]
            if any(s.label for s in listing.samples if s.object == name) and not any(
                s.masks for s in listing.samples if s.object == name
            ):
                listing.problems.append(note("no-masks", f"{name} has no masks: image metrics only"))
        return listing

    def _masks_together(
        self, tree: Tree, folders: list[Path], truths: list[Path], listing: Listing
    ) -> dict[Path, tuple[Path, ...]]:
        """Masks that lie together for all defects but those with a folder of masks: each has one image, or none."""
        apart = {key(t.name) for t in truths} | {key(f.name) for f in folders if re.fullmatch(self.normal, key(f.name))}
        images = [i for f in folders if key(f.name) not in apart for i in split_by_name(tree.pictures[f], MASK_NAME)[0]]
        flat = [m for t in truths if re.fullmatch(self.truth, key(t.name)) for m in tree.pictures[t]]
        pairs, problems = pair(images, flat)
        listing.problems += problems
        return pairs

    def _check_one(self, tree: Tree, places: list[Path]) -> list[Problem]:
        if len(places) > 1:
            names = ", ".join(sorted(_relative(place, tree) for place in places))
            raise ConfigurationError(f"{tree.root}: several folders with a test set ({names}); name the folder meant")
        name = places[0].resolve().name
        if key(name) == key(self.object or ""):
            return []
        return [warning("unexpected-class", f"the folder is called {name}, and its images are taken as {self.object}")]


def nearest(tree: Tree, folder: Path, others: Iterable[Path]) -> Path | None:
    """Of some folders, the one that shares the longest path with another one, and its section.

    None of those is near that have nothing in common with it but what lies three levels above.
    """

    def shared(other: Path) -> int:
        return next((i for i, (a, b) in enumerate(zip(folder.parts, other.parts, strict=False)) if a != b), 0)

    section = tree.section(folder)
    others = [other for other in others if shared(other) >= len(folder.parts) - 2]
    return max(others, key=lambda o: (shared(o), tree.section(o) == section, -len(o.parts)), default=None)


def _equal(files: dict[str, Path], others: dict[str, Path]) -> bool:
    """Whether files have the same names and contents."""
    return files.keys() == others.keys() and all(filecmp.cmp(f, others[n], shallow=False) for n, f in files.items())


def _without_format(tree: Tree, folder: Path) -> tuple[str, ...]:
    return tuple(part for part in tree.parts(folder) if part not in ("png", "tif", "tiff", "jpg", "bmp"))


def _keys(folder: Path, above: Path) -> list[str]:
    return [key(part) for part in folder.relative_to(above).parts]


def _relative(path: Path, tree: Tree) -> str:
    relative = path.relative_to(tree.root).as_posix()
    return "the top folder" if relative == "." else relative
