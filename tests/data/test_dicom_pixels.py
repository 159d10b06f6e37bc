"""Pixel values of synthetic DICOM files, and of pydicom's own against an independent decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.data import get_testdata_file

from anomalyclip_med.data import find_scans
from anomalyclip_med.errors import ScanError

GREY = np.array([[0, 10, 20], [30, 40, 50]], dtype=np.uint16)


def only(path):
    (scan,), _ = find_scans([path])
    return scan


def test_rescale_and_window(tmp_path, write_dicom):
    write_dicom(
        tmp_path / "a", GREY, RescaleSlope=2.5, RescaleIntercept=-1024, WindowCenter=[40, 300], WindowWidth=[80, 9]
    )
    scan = only(tmp_path)
    np.testing.assert_array_equal(scan.read_slice(0), (GREY * 2.5 - 1024).astype(np.float32))
    assert scan.read_slice(0).dtype == np.float32
    assert scan.window == (40, 80)
    assert scan.stored_range is None


def test_monochrome1_is_inverted_with_its_window(tmp_path, write_dicom):
    write_dicom(
        tmp_path / "a",
        GREY,
        Modality="CR",
        PhotometricInterpretation="MONOCHROME1",
        BitsStored=12,
        HighBit=11,
        WindowCenter=1000,
        WindowWidth=101,
    )
    scan = only(tmp_path)
    np.testing.assert_array_equal(scan.read_slice(0), 4095.0 - GREY)
    # PS3.3 C.11.2.1.2.1: the ramp runs from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
    low, high = 1000 - 0.5 - 50, 1000 - 0.5 + 50
    centre, width = scan.window
    assert (centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2) == (4095 - high, 4095 - low)


def test_monochrome1_hounsfield_units_stay(tmp_path, write_dicom):
    write_dicom(tmp_path / "a", GREY, PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=-9)
    np.testing.assert_array_equal(only(tmp_path).read_slice(0), GREY - 9.0)


@pytest.mark.parametrize(
    ("padding", "limit", "expected"),
    [(0, None, [[110, 110, 120], [130, 140, 150]]), (0, 20, [[130, 130, 130], [130, 140, 150]])],
)
def test_padding_is_the_lowest_of_the_rest(tmp_path, write_dicom, padding, limit, expected):
    elements = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    write_dicom(tmp_path / "a", GREY, PixelPaddingValue=padding, RescaleSlope=1, RescaleIntercept=100, **elements)
    np.testing.assert_array_equal(only(tmp_path).read_slice(0), expected)


def test_padding_outside_of_the_stored_bits_is_found(tmp_path, write_dicom):
    pixels = GREY.copy()
    pixels[0, 0] = 63536  # -2000 in 16 bits; its lower 12 bits alone are 2096
    pixels[1, 1] = 2096
    write_dicom(tmp_path / "a", pixels, BitsStored=12, HighBit=11, PixelPaddingValue=63536)
    np.testing.assert_array_equal(only(tmp_path).read_slice(0), [[10, 10, 20], [30, 2096, 50]])


def test_unused_bits_are_not_part_of_the_value(tmp_path, write_dicom):
    write_dicom(tmp_path / "a", GREY | 0xF000, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(only(tmp_path).read_slice(0), GREY)


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_becomes_rgb(tmp_path, write_dicom, bits):
    indices = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    table = np.array([[1, 2, 3], [40, 50, 60], [70, 80, 90]], dtype=np.uint8)
    elements = {}
    for i, color in enumerate(("Red", "Green", "Blue")):
        entries = table[:, i].astype(np.uint16) * 257 if bits == 16 else table[:, i]
        data = entries.tobytes()
        elements[f"{color}PaletteColorLookupTableDescriptor"] = [3, 1, bits]
        elements[f"{color}PaletteColorLookupTableData"] = data + b"\0" * (len(data) % 2)
    write_dicom(tmp_path / "a", indices, Modality="US", PhotometricInterpretation="PALETTE COLOR", **elements)
    scan = only(tmp_path)
    # The first entry is for index 1; smaller indices get it as well.
    np.testing.assert_array_equal(scan.read_slice(0), table[[0, 0, 1, 2]][np.newaxis])
    assert scan.color
    assert scan.stored_range == (0, 255)


def test_rgb_of_8_and_16_bits(tmp_path, write_dicom):
    colors = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    for bits in (8, 16):
        pixels = colors if bits == 8 else colors.astype(np.uint16) << 8
        write_dicom(tmp_path / "a", pixels, Modality="OT")
        np.testing.assert_array_equal(only(tmp_path / "a").read_slice(0), colors)


def test_cine_frames_stay_in_order_with_their_calibration(tmp_path, write_dicom, sequence):
    frames = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)[::-1].copy()
    frames = frames.repeat(2, axis=2)  # six columns, so that the last axis is not taken for colours
    region = sequence(
        PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3, PhysicalDeltaX=0.03, PhysicalDeltaY=0.02,
        RegionLocationMinX0=0, RegionLocationMinY0=0, RegionLocationMaxX1=5, RegionLocationMaxY1=1,
    )  # fmt: skip
    write_dicom(tmp_path / "a", frames, Modality="US", SequenceOfUltrasoundRegions=region)
    scan = only(tmp_path)
    assert scan.shape == (6, 2, 4)
    assert [s.frame for s in scan.slices] == [0, 1, 2, 3]
    assert scan.stored_range == (0, 255)
    assert scan.warnings == []
    np.testing.assert_allclose(np.diag(scan.affine), [-0.3, -0.2, 1, 1])
    for index in range(4):
        np.testing.assert_array_equal(scan.read_slice(index), frames[index])


def test_missing_pixel_spacing_is_a_warning(tmp_path, write_dicom):
    write_dicom(tmp_path / "a", GREY, Modality="CR")
    assert only(tmp_path).warnings == ["missing-pixel-spacing: the pixel size is unknown, 1 mm is assumed"]


@pytest.mark.parametrize("cut", [1, 7])
def test_truncated_pixels_are_an_error_that_names_the_file_and_no_patient(tmp_path, write_dicom, cut):
    write_dicom(tmp_path / "cut.dcm", GREY)
    data = (tmp_path / "cut.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[:-cut])
    with pytest.raises(ScanError, match=r"cut\.dcm: the pixel data .* truncated") as error:
        only(tmp_path).read_slice(0)
    assert "SECRET" not in str(error.value)


def test_frames_before_the_cut_can_be_read(tmp_path, write_dicom):
    frames = np.arange(3 * 8, dtype=np.uint16).reshape(3, 2, 4)
    write_dicom(tmp_path / "a", frames)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-4])
    scan = only(tmp_path)
    np.testing.assert_array_equal(scan.read_slice(1), frames[1])
    with pytest.raises(ScanError):
        scan.read_slice(2)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("CT_small.dcm", 0),
        ("MR_small.dcm", 0),
        ("MR_small_bigendian.dcm", 0),
        ("MR_small_jp2klossless.dcm", 0),
        ("MR_small_jpeg_ls_lossless.dcm", 0),
        ("MR_small_RLE.dcm", 0),
        ("image_dfl.dcm", 0),
        ("examples_palette.dcm", 0),
        ("examples_rgb_color.dcm", 0),
        ("examples_jpeg2k.dcm", 0),
        ("SC_ybr_full_422_uncompressed.dcm", 0),
        ("examples_ybr_color.dcm", 3),  # lossy JPEG: decoders round differently
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", 2),
        ("SC_rgb_jpeg.dcm", 1),
        ("JPEG-lossy.dcm", 1),  # its scan header claims no coefficients
    ],
)
def test_real_files_decode_as_gdcm_decodes_them(name, tolerance):
    path = Path(get_testdata_file(name))
    scan = only(path)
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert reference.shape[:3] == scan.shape[::-1]
    for index in range(0, scan.shape[2], 10):
        difference = scan.read_slice(index).astype(float) - reference[index]
        assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize(
    "name",
    ["MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "JPGExtended.dcm"],
)
@pytest.mark.parametrize("share", [0.9, 0.7])
def test_truncated_compressed_pixels_are_an_error(tmp_path, name, share):
    data = Path(get_testdata_file(name)).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ScanError, match=f"{name}: .* truncated"):
        only(tmp_path).read_slice(0)


def test_compressed_frames_before_the_cut_can_be_read(tmp_path):
    path = Path(get_testdata_file("examples_ybr_color.dcm"))
    data = path.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) * 7 // 10])
    scan, whole = only(tmp_path), only(path)
    np.testing.assert_array_equal(scan.read_slice(18), whole.read_slice(18))
    for index in (19, 20, 29):  # the 20th frame is cut in two
        with pytest.raises(ScanError, match=f"frame {index + 1} is truncated"):
            scan.read_slice(index)


def test_a_real_file_without_usable_pixels_is_an_error():
    with pytest.raises(ScanError, match=r"MR_truncated\.dcm"):
        only(Path(get_testdata_file("MR_truncated.dcm"))).read_slice(0)


@pytest.mark.data
def test_gantry_tilt_series_keeps_every_position(real_data):
    folder = real_data / "DICOM" / "CT_head_GE_gantrytilt"
    (scan,), _ = find_scans([folder])
    headers = sorted((dcmread(f) for f in folder.glob("*.dcm")), key=lambda d: float(d.ImagePositionPatient[2]))
    assert len(scan.slices) == len(headers) == 28
    assert [w.split(":")[0] for w in scan.warnings] == ["irregular-spacing", "gantry-tilt"]
    orientation = np.array(headers[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    for index, header in enumerate(headers):
        position = np.array(header.ImagePositionPatient, dtype=float) @ normal
        assert scan.slices[index].position == pytest.approx(position, abs=0.01)
        padded = header.pixel_array == header.PixelPaddingValue
        pixels = scan.read_slice(index)
        np.testing.assert_array_equal(pixels[~padded], header.pixel_array[~padded])
        assert pixels.min() == header.pixel_array[~padded].min()
    for index in (0, 27):
        corner = np.array(headers[index].ImagePositionPatient, dtype=float) * [-1, -1, 1]
        np.testing.assert_allclose((scan.affine @ [0, 0, index, 1])[:3], corner, atol=1e-6)


@pytest.mark.data
def test_voxels_of_a_tilted_irregular_series_lie_where_the_headers_put_them(real_data):
    """The gaps change inside the series, so a slice's place on the sheared axis follows from its position in mm."""
    folder = real_data / "DICOM" / "CT_head_GE_gantrytilt"
    (scan,), _ = find_scans([folder])
    headers = sorted((dcmread(f) for f in folder.glob("*.dcm")), key=lambda d: float(d.ImagePositionPatient[2]))
    along = np.array([s.position for s in scan.slices])
    steps = (along - along[0]) / (along[-1] - along[0]) * (len(along) - 1)
    for step, header in zip(steps, headers, strict=True):
        row, column = np.reshape(np.array(header.ImageOrientationPatient, dtype=float), (2, 3))
        down, right = (float(v) for v in header.PixelSpacing)
        for c, r in ((0, 0), (511, 0), (0, 511), (200, 300)):
            expected = np.array(header.ImagePositionPatient, dtype=float) + c * right * row + r * down * column
            voxel = (scan.affine @ [c, r, step, 1])[:3] * [-1, -1, 1]
            assert np.linalg.norm(voxel - expected) < 0.01


@pytest.mark.data
def test_oblique_series_agrees_with_every_header(real_data):
    folder = real_data / "DICOM" / "MR_T1_studyforrest"
    (scan,), skipped = find_scans([folder])
    assert scan.warnings == []
    assert [s.path.name for s in skipped] == ["LICENSE"]
    by_uid = {}
    for file in folder.glob("*.dcm"):
        header = dcmread(file)
        by_uid[tuple(np.round(np.array(header.ImagePositionPatient, dtype=float), 3))] = header
    assert len(by_uid) == scan.shape[2] == 24
    for k in range(24):
        corner = (scan.affine @ [0, 0, k, 1])[:3] * [-1, -1, 1]
        distances = {key: np.linalg.norm(np.array(key) - corner) for key in by_uid}
        nearest = min(distances, key=distances.get)
        assert distances[nearest] < 0.01
        np.testing.assert_array_equal(scan.read_slice(k), by_uid[nearest].pixel_array)


@pytest.mark.data
def test_a_segmentation_beside_a_series_is_skipped(real_data):
    (scan,), skipped = find_scans([real_data / "DICOM" / "CT_3slice_with_SEG"])
    assert scan.shape == (512, 512, 3)
    assert {s.path.name for s in skipped} == {"liver.dcm", "LICENSE.txt"}
    assert any("Segmentation Storage" in s.reason for s in skipped)
