"""Mosaics of four training images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anomalyclip_med.engines import training_images
from anomalyclip_med.engines.mosaic import draw_mosaics, tile
from anomalyclip_med.errors import ConfigurationError


@given(st.lists(st.sampled_from("ab"), max_size=40), st.floats(0, 1), st.integers(0, 9))
def test_four_of_the_same_class(classes: list[str], share: float, seed: int) -> None:
    found = draw_mosaics(classes, share, seed)
    assert found == draw_mosaics(classes, share, seed)
    for place, parts in found.items():
        assert len(parts) == 4
        assert {classes[i] for i in parts} == {classes[place]}


def test_as_many_as_asked_for() -> None:
    assert draw_mosaics(["a"] * 50, 0.0, 0) == {}
    assert len(draw_mosaics(["a"] * 50, 1.0, 0)) == 50
    assert len(draw_mosaics(["a"] * 10_000, 0.2, 0)) == pytest.approx(2000, abs=160)  # four standard deviations


@pytest.mark.parametrize("size", [4, 7])
def test_the_four_stand_in_two_rows(size: int) -> None:
    parts = [torch.full((3, size, size), float(n)) for n in range(4)]
    half = size // 2
    for nearest in (False, True):
        whole = tile(parts, nearest)
        assert whole.shape == (3, size, size)
        quarters = (whole[:, :half, :half], whole[:, :half, half:], whole[:, half:, :half], whole[:, half:, half:])
        for number, quarter in enumerate(quarters):
            torch.testing.assert_close(quarter, torch.full_like(quarter, number))


def test_masks_follow_their_images(tmp_path: Path) -> None:
    from monai.transforms import Compose

    from anomalyclip_med.transforms import LoadMaskd, LoadSliced, ResizeSliced

    entries = []
    for number in range(6):
        picture = np.zeros((32, 32), np.uint8)
        label = int(number > 0)
        if label:
            picture[4 * number : 4 * number + 4, 8:24] = 255
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        entries.append({"image": f"{number}.png", "mask": f"{number}.png" if label else None, "label": label})
    (tmp_path / "list.json").write_text(json.dumps({"training": entries}))
    transform = Compose([LoadSliced("image"), ResizeSliced("image", 32), LoadMaskd("mask", 32)])

    images = training_images(tmp_path / "list.json", tmp_path, "training", transform, mosaic=1.0)
    item = images[0]
    assert item["image"].shape == (3, 32, 32)
    assert item["mask"].shape == (1, 32, 32)
    # The marked pixels are the bright ones: half as wide and high, as many as are marked in the four, over four.
    bright = item["image"].amax(dim=0) > 0.5
    torch.testing.assert_close(bright.float(), item["mask"][0].float())
    assert item["mask"].sum() % (64 / 4) == 0
    assert (item["label"], item["known"]) == (int(item["mask"].any()), True)
    assert images.describe()["mosaics"] == 6
    assert len(images.identity(0)["mosaic"]) == 4

    plain = training_images(tmp_path / "list.json", tmp_path, "training", transform)
    assert "mosaics" not in plain.describe()
    assert plain.identity(0)["label"] == 0
    with pytest.raises(ConfigurationError, match="mosaic=2 must be a share"):
        training_images(tmp_path / "list.json", tmp_path, "training", transform, mosaic=2)
    with pytest.raises(ConfigurationError, match="not of drawn ones"):
        training_images("", "", "training", transform, procedural=4, mosaic=0.2)
