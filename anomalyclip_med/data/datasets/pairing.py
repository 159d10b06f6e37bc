"""Images and masks belong together by name, never by their place in a sorted list."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from anomalyclip_med.data.datasets.samples import Problem, warning

MASK_NAME = (
    r"(?P<base>.+?)[ _.-]*(?:mask|masks|gt|ground[ _-]?truth|label|labels|seg|segmentation|lesion)(?:[ _.-]*\d+)?"
    r"|(?:mask|gt|label|seg)[ _.-]+(?P<after>.+)"
)
"""How a mask's stem is made from its image's: "x_mask", "x_mask_1", "x_Segmentation", "x_label", "mask_x", ..."""


def base_name(stem: str, pattern: str = MASK_NAME) -> str | None:
    """The stem of the image that a mask's stem names, in lower case, or None if it is no mask's stem."""
    match = re.fullmatch(pattern, stem, re.IGNORECASE)
    return next((fold(group) for group in match.groups() if group), None) if match else None


def fold(name: str) -> str:
    """A name without its case, accents composed as not all file systems keep them."""
    return unicodedata.normalize("NFC", name).casefold()


def pair(
    images: Sequence[Path], masks: Sequence[Path], pattern: str = MASK_NAME
) -> tuple[dict[Path, tuple[Path, ...]], list[Problem]]:
    """Find the masks of images.

    A mask belongs to the image of the same file name; else to that of the same stem; else to the one that its own name
    is made from. Case does not matter. An image may have several masks, a mask has one image.

    Args:
        images: files whose names are the keys.
        masks: files.
        pattern: of a mask's stem, with the image's stem as its group.

    Returns:
        Every image with its masks, in the order of the names; and masks without an image, or with several to choose
        from, as problems.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_name[fold(image.name)].append(image)
        by_stem[fold(image.stem)].append(image)
    pairs: dict[Path, tuple[Path, ...]] = dict.fromkeys(images, ())
    lost: list[Path] = []
    torn: list[Path] = []
    for mask in sorted(masks):
        found = by_name.get(fold(mask.name)) or by_stem.get(fold(mask.stem))
        found = found or by_stem.get(base_name(mask.stem, pattern) or "") or []
        if len(found) == 1:
            pairs[found[0]] = (*pairs[found[0]], mask)
        else:
            (torn if found else lost).append(mask)
    problems = []
    if lost:
        problems.append(warning("image-missing", "masks that no image belongs to", lost))
    if torn:
        problems.append(warning("ambiguous-pair", "masks whose name fits several images, given to none", torn))
    return pairs, problems


def without_mask(images: Sequence[Path]) -> list[Problem]:
    """The problem that anomalous images have no mask, if there are any."""
    detail = "anomalous images without a mask; they stay out of pixel metrics"
    return [warning("mask-missing", detail, images)] if images else []
