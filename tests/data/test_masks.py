"""Mask rules on stored pixels of every kind that masks come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from anomalyclip_med.data.discovery import open_picture
from anomalyclip_med.data.masks import MaskRule, binary_mask
from anomalyclip_med.errors import ScanError
from anomalyclip_med.transforms import LoadMaskd

GREYS = np.array([[0, 1, 3, 126], [127, 128, 254, 255]], np.uint8)


def picture(path: Path, pixels: np.ndarray, palette: list[int] | None = None) -> Path:
    image = Image.fromarray(pixels, mode="P" if palette else None)
    if palette:
        image.putpalette(palette)
    image.save(path)
    return path


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (MaskRule.HALF, [[0, 0, 0, 0], [0, 1, 1, 1]]),
        (MaskRule.ABOVE_127, [[0, 0, 0, 0], [0, 1, 1, 1]]),
        (MaskRule.NONZERO, [[0, 1, 1, 1], [1, 1, 1, 1]]),
    ],
)
def test_greys(tmp_path: Path, rule: MaskRule, expected: list[list[int]]) -> None:
    for name, pixels in (("l.png", GREYS), ("rgb.png", np.stack([GREYS] * 3, -1)), ("l.tif", GREYS)):
        mask = binary_mask(open_picture(picture(tmp_path / name, pixels)), rule)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, np.array(expected, bool))


@pytest.mark.parametrize("name", ["p.bmp", "p.png", "p.tif"])
def test_palettes_count_by_index(tmp_path: Path, name: str) -> None:
    """KolektorSDD's labels: 0 and 1, and both colours are dark."""
    indices = np.array([[0, 1], [1, 0]], np.uint8)
    scan = open_picture(picture(tmp_path / name, indices, [9, 9, 9, 1, 1, 1]))
    np.testing.assert_array_equal(binary_mask(scan, MaskRule.NONZERO), indices > 0)
    assert not binary_mask(scan, MaskRule.ABOVE_127).any()


def test_zeros_and_ones_are_told_by_half(tmp_path: Path) -> None:
    ones = np.array([[0, 1], [1, 1]], np.uint8)
    scan = open_picture(picture(tmp_path / "ones.png", ones))
    np.testing.assert_array_equal(binary_mask(scan), ones > 0)
    scan = open_picture(picture(tmp_path / "bits.png", ones.astype(bool)))
    np.testing.assert_array_equal(binary_mask(scan, MaskRule.ABOVE_127), ones > 0)


def test_what_only_tifffile_opens(tmp_path: Path) -> None:
    deep = np.zeros((4, 6, 3), np.uint16)
    deep[1:3, 2:4] = 65535
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    for rule in MaskRule:
        np.testing.assert_array_equal(binary_mask(open_picture(tmp_path / "deep.tif"), rule), deep[..., 0] > 0)


def test_the_transform_applies_the_rule_of_the_entry_and_unites(tmp_path: Path) -> None:
    left, right = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    left[:, :2], right[:, 6:] = 2, 3
    scans = [open_picture(picture(tmp_path / f"{n}.png", p)) for n, p in (("l", left), ("r", right))]
    load = LoadMaskd("mask", 16)
    out = load({"mask": scans, "mask_rule": "stored>0"})
    assert out["has_mask"]
    expected = torch.zeros(1, 16, 16)
    expected[..., :4] = expected[..., 12:] = 1
    assert torch.equal(out["mask"], expected)
    assert torch.equal(load({"mask": scans[0], "mask_rule": "stored>0"})["mask"][..., 8:], torch.zeros(1, 16, 8))
    assert not load({"mask": scans, "mask_rule": "shown>127"})["mask"].any()
    assert not load({"mask": None, "mask_rule": ""})["has_mask"]
    scans[1] = open_picture(picture(tmp_path / "small.png", right[:4]))
    with pytest.raises(ScanError, match=r"small\.png: \(8, 4\) pixels"):
        load({"mask": scans, "mask_rule": ""})


def test_a_damaged_palette_is_a_scan_error(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png", np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8), [0, 0, 0, 9, 9, 9])
    scan = open_picture(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ScanError, match=r"p\.png: the picture cannot be decoded"):
        binary_mask(scan, MaskRule.NONZERO)
