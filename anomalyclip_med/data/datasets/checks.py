"""What is looked at in every file of a data set, and every oddity by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from anomalyclip_med.data.datasets.dataset import DataSet
from anomalyclip_med.data.datasets.samples import SECTIONS, Listing, Problem, Sample, note, warning
from anomalyclip_med.data.datasets.shared import hash_file, listed_hashes
from anomalyclip_med.data.datasets.tree import Tree
from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.data.image import palette_indices
from anomalyclip_med.data.masks import MaskRule, binary_mask, mask_values
from anomalyclip_med.errors import ScanError

_DARK = 127
_FEW = 32
"""Masks with no more numbers than this, and none above `_DARK`, hold numbers of classes or two greys."""

_FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}


def check_files(samples: Sequence[Sample], rule: MaskRule) -> list[Problem]:
    """Open all images and masks.

    Args:
        samples: the images.
        rule: how masks become binary.

    Returns:
        ``unreadable``, ``wrong-suffix``, ``size-mismatch``, ``mask-values``, ``mask-empty`` and ``normal-with-mask``.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    unreadable: dict[str, list[Path]] = defaultdict(list)
    for sample in tqdm(samples, desc="checking", unit="image", delay=2):
        try:
            shape = open_picture(sample.image).shape
        except ScanError as error:
            unreadable[str(error).rpartition(": ")[2]].append(sample.image)
            shape = None
        if _misnamed(sample.image):
            found["wrong-suffix"].append(sample.image)
        marked = lost = False
        for path in sample.masks:
            try:
                mask = open_picture(path)
                values = mask_values(mask, rule)
                shown = bool(binary_mask(mask, rule).any())
                lost |= not shown and bool(binary_mask(mask, MaskRule.NONZERO).any())
                marked |= shown
            except ScanError as error:
                unreadable[str(error).rpartition(": ")[2]].append(path)
                marked = True  # not known to be empty
                continue
            if shape is not None and mask.shape != shape:
                found["size-mismatch"].append(path)
            if rule is not MaskRule.NONZERO and len(np.unique(values)) > 2:
                found["mask-values"].append(path)
        if lost or (sample.masks and sample.label and not marked):
            found["mask-empty"].append(sample.image)
        if marked and not sample.label:
            found["normal-with-mask"].append(sample.image)
    details = {
        "wrong-suffix": (note, "the suffix tells another format than the content, which is what counts"),
        "size-mismatch": (
            warning,
            "masks of another size than their image: 'evaluate' refuses them; mend the files or take them out",
        ),
        "mask-values": (note, f"masks with more than two values, made binary by the rule {rule.value}"),
        "mask-empty": (
            warning,
            f"images with a mask that should mark something, but does not by the rule {rule.value}",
        ),
        "normal-with-mask": (warning, "normal images whose masks mark something: counted as normal"),
    }
    problems = [warning("unreadable", reason, files) for reason, files in sorted(unreadable.items())]
    return problems + [make(kind, detail, found[kind]) for kind, (make, detail) in details.items() if found[kind]]


def fitting_rule(samples: Sequence[Sample], rule: MaskRule) -> tuple[MaskRule, list[Problem]]:
    """The rule for masks of which nothing is known: ``stored>0`` for numbers of classes, dark greys and palettes.

    Args:
        samples: the images.
        rule: for all other masks.

    Returns:
        The rule, and ``mask-rule`` if it is another one.
    """
    numbers: set[float] = set()
    palettes = False
    for path in dict.fromkeys(mask for sample in samples for mask in sample.masks):
        try:
            if palette_indices(path) is not None:
                palettes = True
                continue
            numbers |= set(np.unique(mask_values(open_picture(path), rule)).tolist())
        except ScanError:
            continue  # told by `check_files`
        if max(numbers) > _DARK or len(numbers) > _FEW:
            return rule, []
    if not palettes and max(numbers, default=0) <= 1:
        return rule, []
    what = "in palette pictures" if palettes else f"of {len(numbers)} numbers up to {max(numbers):g}"
    detail = f"masks {what}: all that is stored but 0 is marked, by the rule {MaskRule.NONZERO.value}"
    return MaskRule.NONZERO, [note("mask-rule", detail)]


def check_counts(entry: DataSet, samples: Sequence[Sample]) -> list[Problem]:
    """Compare the number of images with those of the known releases: ``unexpected-count``, ``unexpected-class``."""
    problems = []
    for section, (normal, anomalous) in counts(samples).items():
        known: dict[tuple[int, int], str] = {}
        for release in entry.expected:
            if section in release.counts:
                known.setdefault(release.counts[section], release.source)
        if known and (normal, anomalous) not in known:
            releases = "; ".join(f"{n} normal and {a} anomalous ({source})" for (n, a), source in known.items())
            detail = f"{section} has {normal} normal and {anomalous} anomalous images, where {releases} are known"
            problems.append(note("unexpected-count", detail))
    strange = sorted({s.object for s in samples} - set(entry.objects)) if entry.objects else []
    if strange:
        # Some of another spelling are a re-pack; if all are, it may be another data set of the same layout.
        make = note if {s.object for s in samples} & set(entry.objects) else warning
        problems.append(make("unexpected-class", f"classes that are not the paper's: {', '.join(strange)}"))
    return problems


def counts(samples: Iterable[Sample]) -> dict[str, tuple[int, int]]:
    """Normal and anomalous images of each section that has any."""
    found = Counter((s.section, s.label) for s in samples)
    return {s: (found[s, 0], found[s, 1]) for s in SECTIONS if found[s, 0] or found[s, 1]}


def check_left_out(tree: Tree, listing: Listing) -> list[Problem]:
    """Pictures that are part of no sample, by reason: ``left-out``."""
    used = {file for s in listing.samples for file in (s.image, *s.masks)}
    told = {file for problem in listing.problems for file in problem.files}
    reasons: dict[str, list[Path]] = defaultdict(list)
    if tree.links:
        reasons["links to folders are not followed: name the folder itself, or copy it"] = tree.links
    for files in (*tree.pictures.values(), tree.unread):
        for file in files:
            if file in used or file in told:
                continue
            places = [file, *file.parents]
            reason = next((listing.reasons[p] for p in places if p in listing.reasons), None)
            default = "a format that is not read" if file in tree.unread else "not part of the layout"
            reasons[reason or default].append(file)
    return [note("left-out", reason, files) for reason, files in sorted(reasons.items())]


def hash_files(samples: Sequence[Sample]) -> dict[Path, str]:
    """SHA-256 of each image's file."""
    return {s.image: hash_file(s.image) for s in tqdm(samples, desc="hashing", unit="image", delay=2)}


def check_duplicates(samples: Sequence[Sample], hashes: dict[Path, str]) -> list[Problem]:
    """Images that are equal byte by byte: ``duplicate``, ``duplicate-across-sections`` or ``duplicate-labels``."""
    same: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        same[hashes[sample.image]].append(sample)
    found: dict[str, list[Path]] = defaultdict(list)
    for copies in same.values():
        if len(copies) > 1:
            kind = "duplicate"
            if len({s.section for s in copies}) > 1:
                kind = "duplicate-across-sections"
            if len({s.label for s in copies}) > 1:
                kind = "duplicate-labels"
            found[kind] += [s.image for s in copies]
    details = {
        "duplicate-labels": (warning, "equal files of which some are normal and some anomalous"),
        "duplicate-across-sections": (warning, "equal files in several sections: what is learned is tested"),
        "duplicate": (note, "equal files in one section, each counted"),
    }
    return [make(kind, detail, found[kind]) for kind, (make, detail) in details.items() if found[kind]]


def check_groups(samples: Sequence[Sample]) -> list[Problem]:
    """Groups, such as patients, that are split: ``group-across-sections``."""
    sections: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        sections[sample.group].add(sample.section)
    split = {group for group, found in sections.items() if group and len(found) > 1}
    files = [sample.image for sample in samples if sample.group in split]
    detail = f"{len(split)} groups have images in several sections: who is learned from is tested"
    return [warning("group-across-sections", detail, files)] if files else []


def check_shared(hashes: dict[Path, str], other: Path) -> list[Problem]:
    """Images that are in another data list, too, byte by byte: ``shared-files``."""
    theirs = listed_hashes(other)
    files = [image for image, digest in hashes.items() if digest in theirs]
    detail = f"equal to files of {other}: results on both are not independent"
    return [warning("shared-files", detail, files)] if files else []


def _misnamed(path: Path) -> bool:
    """Whether Pillow finds another format in a file than its name tells; what it cannot open is not judged."""
    try:
        with Image.open(path) as image:
            suffixes = _FORMATS.get(image.format or "")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return suffixes is not None and path.suffix.lower() not in suffixes
