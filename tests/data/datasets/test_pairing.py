"""Pairs by name, whatever order the files come in and whatever is missing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalyclip_med.data.datasets.pairing import base_name, pair


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("000_mask", "000"),
        ("Benign (1)_mask_1", "benign (1)"),
        ("ISIC_0000003_Segmentation", "isic_0000003"),
        ("0576_label", "0576"),
        ("mask_12", "12"),
        ("a-gt", "a"),
        ("000", None),
        ("p10", None),
        ("mask", None),
    ],
)
def test_the_image_that_a_mask_is_named_after(stem: str, expected: str | None) -> None:
    assert base_name(stem) == expected


@given(
    numbers=st.sets(st.integers(0, 200), min_size=1, max_size=40),
    lost=st.sets(st.integers(0, 200), max_size=10),
    extra=st.sets(st.integers(201, 220), max_size=5),
    seed=st.integers(0, 99),
)
def test_order_and_gaps_do_not_matter(numbers: set[int], lost: set[int], extra: set[int], seed: int) -> None:
    """By position, one missing mask would shift all that follow."""
    images = [Path(f"images/{n:03d}.png") for n in numbers]
    masks = [Path(f"masks/{n:03d}_mask.png") for n in (numbers - lost) | extra]
    random.Random(seed).shuffle(images)
    random.Random(seed + 1).shuffle(masks)
    pairs, problems = pair(images, masks)
    expected = {n: () if n in lost else (Path(f"masks/{n:03d}_mask.png"),) for n in numbers}
    assert {int(image.stem): found for image, found in pairs.items()} == expected
    assert {p.kind: set(p.files) for p in problems} == (
        {"image-missing": {Path(f"masks/{n:03d}_mask.png") for n in extra}} if extra else {}
    )


def test_the_whole_name_comes_before_the_stem() -> None:
    """BrainMRI has Y92.jpg and Y92.png, two different images."""
    images = [Path("yes/Y92.jpg"), Path("yes/Y92.png"), Path("yes/Y1.JPG")]
    pairs, problems = pair(images, [Path("m/y92.PNG"), Path("m/Y1.png")])
    assert pairs == {images[0]: (), images[1]: (Path("m/y92.PNG"),), images[2]: (Path("m/Y1.png"),)}
    assert problems == []
    pairs, problems = pair(images, [Path("m/Y92.tif")])
    assert pairs[images[0]] == pairs[images[1]] == ()
    assert [(p.kind, p.files) for p in problems] == [("ambiguous-pair", (Path("m/Y92.tif"),))]


def test_accents_are_one_letter_or_two() -> None:
    image, mask = Path("Sch\u00e4del.png"), Path("scha\u0308del_mask.png")
    assert pair([image], [mask])[0] == {image: (mask,)}


def test_one_image_has_many_masks_in_the_order_of_their_names() -> None:
    masks = [Path("b_mask_1.png"), Path("b_mask.png"), Path("a_mask.png")]
    pairs, _ = pair([Path("a.png"), Path("b.png")], masks)
    assert pairs == {Path("a.png"): (masks[2],), Path("b.png"): (masks[1], masks[0])}
