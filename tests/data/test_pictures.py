"""PNG, JPEG, BMP and TIFF."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from anomalyclip_med.data import find_scans
from anomalyclip_med.errors import ScanError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) * 7


def only(path):
    (scan,), skipped = find_scans([path])
    assert skipped == []
    return scan


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_grey_and_rgb(tmp_path, suffix):
    for name, pixels in (("grey", GREY), ("rgb", RGB)):
        Image.fromarray(pixels).save(tmp_path / f"{name}{suffix}")
        scan = only(tmp_path / f"{name}{suffix}")
        assert scan.shape == (4, 3, 1)
        assert scan.stored_range == (0, 255)
        assert scan.color == (name == "rgb")
        assert scan.read_slice(0).dtype == (np.uint8 if scan.color else np.float32)
        np.testing.assert_array_equal(scan.read_slice(0), pixels)
        np.testing.assert_array_equal(scan.affine, np.diag([-1, -1, 1, 1]))
        volume = np.zeros(scan.shape)
        scan.slice_view(volume, 0)[2, 1] = 1
        assert np.argwhere(volume).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_tag_is_applied(tmp_path, suffix):
    expected = {
        1: GREY, 2: GREY[:, ::-1], 3: GREY[::-1, ::-1], 4: GREY[::-1],
        5: GREY.T, 6: GREY[::-1].T, 7: GREY[::-1, ::-1].T, 8: GREY[:, ::-1].T,
    }  # fmt: skip
    for orientation, pixels in expected.items():
        image = Image.fromarray(GREY)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / f"o{suffix}", exif=exif)
        scan = only(tmp_path / f"o{suffix}")
        assert scan.shape == (*pixels.shape[::-1], 1)
        np.testing.assert_array_equal(scan.read_slice(0), pixels)


def test_orientation_tag_of_deep_tiff(tmp_path):
    deep = GREY.astype(np.uint16) * 100
    tifffile.imwrite(tmp_path / "o.tif", deep, extratags=[(274, 3, 1, 6, True)])
    np.testing.assert_array_equal(only(tmp_path / "o.tif").read_slice(0), deep[::-1].T)


def test_palette_alpha_and_cmyk_become_rgb_on_black(tmp_path):
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(only(tmp_path / "p.png").read_slice(0), [[[10, 20, 30], [200, 100, 50]]])

    Image.fromarray(np.array([[[255, 100, 0, 0], [255, 100, 0, 255]]], dtype=np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path / "a.png").read_slice(0), [[[0, 0, 0], [255, 100, 0]]])

    Image.fromarray(np.array([[[200, 0], [200, 255]]], dtype=np.uint8), mode="LA").save(tmp_path / "la.png")
    scan = only(tmp_path / "la.png")
    assert not scan.color
    np.testing.assert_array_equal(scan.read_slice(0), [[0, 200]])

    Image.new("CMYK", (2, 1), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    np.testing.assert_array_equal(only(tmp_path / "c.tif").read_slice(0), [[[255, 0, 0]] * 2])


def test_one_bit_pictures_are_black_and_white(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "b.png")
    scan = only(tmp_path / "b.png")
    np.testing.assert_array_equal(scan.read_slice(0), (GREY > 100) * 255.0)
    assert scan.stored_range == (0, 255)


@pytest.mark.parametrize("name", ["d.png", "d.tif"])
def test_sixteen_bit_grey_needs_a_window(tmp_path, name):
    deep = GREY.astype(np.uint16) * 300
    Image.fromarray(deep).save(tmp_path / name)
    scan = only(tmp_path / name)
    np.testing.assert_array_equal(scan.read_slice(0), deep)
    assert scan.stored_range is None


def test_sixteen_bit_colour_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "d.tif", RGB.astype(np.uint16) * 257, photometric="rgb")
    scan = only(tmp_path / "d.tif")
    np.testing.assert_array_equal(scan.read_slice(0), RGB)
    assert scan.color


def test_white_is_zero(tmp_path):
    for dtype in (np.uint8, np.uint16):
        tifffile.imwrite(tmp_path / "w.tif", GREY.astype(dtype), photometric="miniswhite")
        np.testing.assert_array_equal(only(tmp_path / "w.tif").read_slice(0), np.iinfo(dtype).max - GREY.astype(float))


def test_pages_are_frames(tmp_path):
    pages = np.stack([GREY, GREY + 1, GREY + 2])
    tifffile.imwrite(tmp_path / "m.tif", pages, photometric="minisblack")
    scan = only(tmp_path / "m.tif")
    assert scan.shape == (4, 3, 3)
    assert [s.frame for s in scan.slices] == [0, 1, 2]
    np.testing.assert_array_equal([scan.read_slice(i) for i in range(3)], pages)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_truncated_pictures_are_errors(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"t{suffix}")
    data = (tmp_path / f"t{suffix}").read_bytes()
    (tmp_path / f"t{suffix}").write_bytes(data[: len(data) * 2 // 3])
    scans, skipped = find_scans([tmp_path])
    if scans:
        with pytest.raises(ScanError, match=f"t{suffix}: "):
            scans[0].read_slice(0)
    else:
        assert "not a readable" in skipped[0].reason


def test_decompression_bomb_is_refused_at_discovery(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    scans, (skipped,) = find_scans([tmp_path])
    assert scans == []
    assert "DecompressionBombError" in skipped.reason


def test_a_png_may_be_named_jpg(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    np.testing.assert_array_equal(only(tmp_path).read_slice(0), GREY)


@pytest.mark.data
def test_real_tiffs_that_pillow_refuses(real_data):
    scans, skipped = find_scans([real_data / "CVC-ClinicDB" / "TIF"])
    assert skipped == []
    assert len(scans) == 8
    for scan in scans:
        np.testing.assert_array_equal(scan.read_slice(0), tifffile.imread(scan.source))


@pytest.mark.data
def test_real_mixed_pictures_all_read(real_data):
    scans, skipped = find_scans([real_data / "BrainMRI"])
    assert skipped == []
    assert len(scans) == 253
    assert len({s.name.casefold() for s in scans}) == 253
    for scan in scans:
        with Image.open(scan.source) as image:
            rgb = np.asarray(image.convert("RGB")) if image.mode in ("RGB", "L") else None
        picture = scan.read_slice(0)
        assert picture.shape[:2] == (scan.shape[1], scan.shape[0])
        if rgb is not None:
            np.testing.assert_array_equal(picture if scan.color else picture[..., np.newaxis].repeat(3, -1), rgb)
