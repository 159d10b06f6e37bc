"""Slices to model input and back: Pillow's numbers, exact affines, the inverse."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from PIL import Image

from anomalyclip_med.data import find_scans
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.transforms import CropRegiond, LoadSliced, ResizeSliced


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(7, 90), columns=st.integers(7, 90), size=st.integers(8, 80), seed=st.integers(0, 2**31))
def test_resize_is_pillows_bicubic(rows: int, columns: int, size: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).random((rows, columns), dtype=np.float32)
    expected = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
    image = MetaTensor(torch.from_numpy(pixels)[None], affine=torch.eye(4))
    resized = ResizeSliced("image", size)({"image": image})["image"]
    np.testing.assert_allclose(resized[0].numpy(), expected, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(5, 90), columns=st.integers(5, 90), size=st.integers(8, 80))
def test_the_affine_keeps_the_corners_of_the_picture(rows: int, columns: int, size: int) -> None:
    """Pixel (-0.5, -0.5) and (n - 0.5, m - 0.5) are the outer corners, before and after."""
    affine = torch.tensor([[0.0, -0.8, 0.1, 5.0], [0.7, 0.0, 0.2, -3.0], [0.0, 0.1, 4.0, 9.0], [0, 0, 0, 1]]).double()
    resized = ResizeSliced("image", size)({"image": MetaTensor(torch.zeros(1, rows, columns), affine=affine)})["image"]
    for corner, resized_corner in (((-0.5, -0.5), (-0.5, -0.5)), ((rows - 0.5, columns - 0.5), (size - 0.5,) * 2)):
        before = affine @ torch.tensor([*corner, 0.0, 1.0]).double()
        after = resized.affine @ torch.tensor([*resized_corner, 0.0, 1.0]).double()
        torch.testing.assert_close(after, before)


def test_the_inverse_restores_shape_affine_and_place() -> None:
    affine = torch.diag(torch.tensor([0.5, 0.7, 3.0, 1.0])).double()
    pixels = torch.zeros(1, 40, 60)
    pixels[0, 10:16, 42:50] = 1
    transform = Compose([ResizeSliced("image", 98)])
    item = transform({"image": MetaTensor(pixels, affine=affine)})
    item["pred"] = item["image"].clone()
    restored = Invertd(keys="pred", orig_keys="image", transform=transform, nearest_interp=False)(item)["pred"]
    assert restored.shape == (1, 40, 60)
    torch.testing.assert_close(restored.affine, affine)
    assert (restored - pixels).abs().mean() < 0.01
    weights = restored[0] / restored[0].sum()
    assert (weights.sum(1) * torch.arange(40)).sum() == pytest.approx(12.5, abs=0.05)
    assert (weights.sum(0) * torch.arange(60)).sum() == pytest.approx(45.5, abs=0.05)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    values = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3) * 10 - 100
    affine = np.array([[-2.0, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "volume.nii")
    return tmp_path / "volume.nii"


def test_a_slice_is_windowed_rgb_with_its_affine(volume: Path) -> None:
    (scan,), _ = find_scans([volume])
    item = LoadSliced("image", window=(100, 400))({"image": scan, "slice": 1})
    image = item["image"]
    values = np.asarray(nib.load(volume).dataobj)
    assert image.shape == (3, 4, 5)
    expected = np.clip((values[:, :, 1].T + 100) / 400, 0, 1)
    for channel in image.numpy():
        np.testing.assert_allclose(channel, expected, atol=1e-6)
    # Row 2, column 3 of slice 1 is voxel (3, 2, 1).
    np.testing.assert_allclose(image.affine.numpy() @ [2, 3, 0, 1], nib.load(volume).affine @ [3, 2, 1, 1], atol=1e-9)
    assert item["failure"] == ""


def test_an_unreadable_slice_is_a_reason_not_an_end(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    scans, _ = find_scans([path])
    item = Compose([LoadSliced("image"), ResizeSliced("image", 56)])({"image": scans[0], "slice": 0})
    assert "cut.png" in item["failure"]
    assert item["image"].shape == (3, 56, 56)


def test_the_region_is_cut_out_and_put_back() -> None:
    affine = torch.tensor([[0.0, -0.8, 0.1, 5.0], [0.7, 0.0, 0.2, -3.0], [0.0, 0.1, 4.0, 9.0], [0, 0, 0, 1]]).double()
    pixels = torch.rand(2, 30, 40)
    transform = Compose([CropRegiond("image")])
    item = transform({"image": MetaTensor(pixels, affine=affine), "region": (4, 20, 7, 39)})
    assert torch.equal(item["image"].as_tensor(), pixels[:, 4:20, 7:39])
    corner = torch.tensor([0.0, 0.0, 0.0, 1.0]).double()
    torch.testing.assert_close(
        item["image"].affine @ corner, affine @ torch.tensor([4.0, 7.0, 0.0, 1.0], dtype=torch.float64)
    )
    assert "region" not in item
    item["pred"] = item["image"].clone()
    restored = Invertd(keys="pred", orig_keys="image", transform=transform, nearest_interp=False)(item)["pred"]
    torch.testing.assert_close(restored.affine, affine)
    expected = torch.zeros(2, 30, 40)
    expected[:, 4:20, 7:39] = pixels[:, 4:20, 7:39]
    assert torch.equal(restored.as_tensor(), expected)


def test_three_windows_make_three_channels(volume: Path) -> None:
    (scan,), _ = find_scans([volume])
    windows = ["brain", [100, 400], "percentile"]
    image = LoadSliced("image", window=windows).read(scan, 1)
    for channel, window in zip(image, windows, strict=True):
        assert torch.equal(channel.as_tensor(), LoadSliced("image", window=window).read(scan, 1)[0].as_tensor())
    assert not torch.equal(image[0], image[1])


def test_air_is_marked_as_empty(tmp_path: Path) -> None:
    values = np.full((20, 20, 3), -1000, np.int16)
    values[3:17, 3:17, 1] = 40
    values[3, 3:6, 2] = 40  # 3 of 400 pixels
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "ct.nii")
    (scan,), _ = find_scans([tmp_path / "ct.nii"])

    def empty(share: float) -> list[bool]:
        load = LoadSliced("image", window="brain", empty_below=share)
        return [load({"image": scan, "slice": i})["empty"] for i in range(3)]

    assert empty(0.0) == [False, False, False]
    assert empty(0.005) == [True, False, False]
    assert empty(0.01) == [True, False, True]
    with pytest.raises(ConfigurationError, match="empty_below=1"):
        LoadSliced("image", empty_below=1)


def test_a_grey_slice_is_resized_once_for_its_three_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (61, 47), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (scan,), _ = find_scans([tmp_path / "a.png"])
    item = LoadSliced("image")({"image": scan, "slice": 0})
    assert item["image"].shape == (3, 61, 47)
    assert item["image"].stride(0) == 0
    resized = ResizeSliced("image", 28)(item)["image"]
    assert resized.stride(0) == 0
    three = MetaTensor(item["image"].as_tensor().contiguous(), affine=item["image"].affine)
    assert torch.equal(resized.as_tensor(), ResizeSliced("image", 28)({"image": three})["image"].as_tensor())
