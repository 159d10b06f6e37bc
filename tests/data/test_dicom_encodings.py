"""How DICOM stores values: each way, made by the test, against the values that went in or an independent decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_voi
from pydicom.uid import (
    MPEG4HP41,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from anomalyclip_med.data import find_scans
from anomalyclip_med.transforms import LoadSliced

GREY = np.array([[0, 10, 20], [30, 40, 50]], dtype=np.uint16)
RAMP = (np.arange(48, dtype=np.uint16) * 83).reshape(6, 8)
# RAMP by encoders that no dependency has: OpenJPH 0.26 and lossless JPEG with prediction from the left.
RAMP_CODED = {
    HTJ2KLossless: (
        "ff4fff5100294000000000080000000600000000000000000000000800000006000000000000000000010f0101ff50000800"
        "020000000aff52000c00020001000504044001ff5c00132088909090909090909090909090888888ff64001700014f70656e"
        "4a50482056657220302e32362e332eff90000a00000000005b0001ff93c00026cff3050774000000c0001340001300f4fe02"
        "0774000af603877400c0001340001300747401827400a5a500423400c0002a600015802412e9a042310276002e75a94b5dfa"
        "c05281beb600ffd9"
    ),
    JPEGLosslessSV1: (
        "ffd8ffc40017000101010100000000000000000000000009070a10ffc3000b100006000801001100ffda0008010000060000"
        "ea9d4ea753a9d4ea7a985314c5314c5314c533530a6298a6298a6298a66a614c5314c5314c5314cd4c298a6298a6298a6299"
        "a985314c5314c5314c5300ffd9"
    ),
}


def only(path):
    (scan,), _ = find_scans([path])
    return scan


def reason(path):
    scans, (skipped,) = find_scans([path])
    assert scans == []
    assert skipped.unreadable
    assert "SECRET" not in skipped.reason
    return skipped.reason


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_encodings_give_back_what_went_in(tmp_path, write_dicom, syntax, signed):
    pixels = np.tile(RAMP, (8, 8)).astype(np.int16 if signed else np.uint16) - (2000 if signed else 0)
    dataset = write_dicom(tmp_path / "a.dcm", pixels)
    dataset.compress(syntax)
    dataset.save_as(tmp_path / "a.dcm")
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").read_slice(0), pixels)


@pytest.mark.parametrize("syntax", RAMP_CODED)
def test_lossless_pictures_of_other_encoders(tmp_path, write_dicom, syntax):
    data = encapsulate([bytes.fromhex(RAMP_CODED[syntax])])
    write_dicom(tmp_path / "a.dcm", RAMP, TransferSyntaxUID=syntax, PixelData=data)
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").read_slice(0), RAMP)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_values_above_the_lowest_bit_are_shifted_down(tmp_path, write_dicom, dtype):
    """PS3.5 8.1.1; pydicom and GDCM leave them where they are."""
    values = GREY.astype(dtype) - (25 if dtype is np.int16 else 0)
    # Bits 4 to 13 are the value, all the others are set.
    pixels = (((values.astype(np.int64) & 0x3FF) << 4) | 0xC00F).astype(np.uint16).view(dtype)
    write_dicom(tmp_path / "a.dcm", pixels, BitsStored=10, HighBit=13)
    scan = only(tmp_path / "a.dcm")
    np.testing.assert_array_equal(scan.read_slice(0), values)
    assert "shifted-values: the values stand in bits 4 to 13" in scan.warnings[-1]


def test_a_high_bit_below_the_stored_bits_is_an_error(tmp_path, write_dicom):
    write_dicom(tmp_path / "a.dcm", GREY, BitsStored=12, HighBit=7)
    assert "HighBit contradicts" in reason(tmp_path / "a.dcm")


def test_overlays_in_unused_bits_are_no_colours(tmp_path, write_dicom):
    indices = np.array([[0, 1], [2, 3]], dtype=np.uint16)
    table = np.arange(12, dtype=np.uint8).reshape(4, 3) * 20
    elements = {
        f"{color}PaletteColorLookupTable{part}": value
        for i, color in enumerate(("Red", "Green", "Blue"))
        for part, value in (("Descriptor", [4, 0, 8]), ("Data", table[:, i].tobytes()))
    }
    write_dicom(
        tmp_path / "a.dcm",
        indices | 0x9000,
        BitsStored=12,
        HighBit=11,
        PhotometricInterpretation="PALETTE COLOR",
        **elements,
    )
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").read_slice(0), table[indices])


@pytest.mark.parametrize("bits", [8, 16])
def test_a_segmented_palette_is_expanded(tmp_path, write_dicom, bits):
    """PS3.3 C.7.9.2: two entries as they are, then a line of three that ends at 100."""
    dtype, unit = (np.uint8, 1) if bits == 8 else (np.uint16, 256)
    segments = np.array([0, 2, 10 * unit, 40 * unit, 1, 3, 100 * unit], dtype=dtype).tobytes()
    elements = {}
    for color in ("Red", "Green", "Blue"):
        elements[f"{color}PaletteColorLookupTableDescriptor"] = [5, 0, bits]
        elements[f"Segmented{color}PaletteColorLookupTableData"] = segments + b"\0" * (len(segments) % 2)
    indices = np.array([[0, 1, 2], [3, 4, 9]], dtype=np.uint8)
    write_dicom(tmp_path / "a.dcm", indices, PhotometricInterpretation="PALETTE COLOR", **elements)
    expected = np.array([[10, 40, 60], [80, 100, 100]])
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").read_slice(0), np.stack([expected] * 3, axis=-1))


@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_full_becomes_rgb(tmp_path, write_dicom, planar):
    """PS3.3 C.7.6.3.1.2, both ways round."""
    ybr = np.random.default_rng(0).integers(60, 190, (4, 5, 3), dtype=np.uint8)
    stored = ybr.transpose(2, 0, 1) if planar else ybr
    write_dicom(
        tmp_path / "a.dcm",
        ybr,
        PhotometricInterpretation="YBR_FULL",
        PlanarConfiguration=planar,
        PixelData=stored.tobytes(),
    )
    y, b, r = (ybr[..., i].astype(float) - (128 if i else 0) for i in range(3))
    expected = np.stack([y + 1.402 * r, y - 0.3441 * b - 0.7141 * r, y + 1.772 * b], axis=-1).clip(0, 255)
    np.testing.assert_allclose(only(tmp_path / "a.dcm").read_slice(0), expected, atol=0.51)


@pytest.mark.parametrize("photometric", ["YBR_PARTIAL_422", "HSV", "MONOCHROME2"])
def test_other_colour_spaces_are_an_error(tmp_path, write_dicom, photometric):
    write_dicom(tmp_path / "a.dcm", np.zeros((2, 4, 3), np.uint8), PhotometricInterpretation=photometric)
    assert f"3 samples per pixel of photometric interpretation {photometric}" in reason(tmp_path / "a.dcm")
    assert "convert the file" in reason(tmp_path / "a.dcm")


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_floating_point_pixels(tmp_path, write_dicom, keyword, dtype):
    pixels = np.array([[0.25, -1e6, 3.5], [1e-3, 7, -9999]], dtype=dtype)
    write_dicom(
        tmp_path / "a.dcm",
        pixels,
        PixelData=None,
        BitsStored=None,
        HighBit=None,
        PixelRepresentation=None,
        **{keyword: pixels.tobytes(), keyword.replace("Data", "PaddingValue"): -9999.0},
    )
    expected = np.where(pixels == -9999, -1e6, pixels).astype(np.float32)
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").read_slice(0), expected)


def test_pixels_of_one_bit_with_frames_that_end_inside_a_byte(tmp_path, write_dicom):
    frames = np.random.default_rng(0).integers(0, 2, (3, 3, 7), dtype=np.uint8)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    write_dicom(
        tmp_path / "a.dcm",
        frames,
        Modality="OT",
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelData=packed + b"\0" * (len(packed) % 2),
    )
    scan = only(tmp_path / "a.dcm")
    assert scan.stored_range == (0, 1)
    for index in range(3):
        np.testing.assert_array_equal(scan.read_slice(index), frames[index])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_signed_and_unsigned(tmp_path, write_dicom, dtype):
    info = np.iinfo(dtype)
    pixels = np.array([[info.min, info.max], [0, 1]], dtype=dtype)
    write_dicom(tmp_path / "a.dcm", pixels)
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").read_slice(0), pixels.astype(np.float32))


def test_a_colour_profile_changes_nothing(tmp_path, write_dicom):
    colors = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    profile = Path(get_testdata_file("crayons.icc", download=False)).read_bytes()
    write_dicom(tmp_path / "a.dcm", colors, ICCProfile=profile)
    np.testing.assert_array_equal(only(tmp_path / "a.dcm").read_slice(0), colors)


def test_a_video_is_an_error_that_says_what_to_do(tmp_path, write_dicom):
    data = encapsulate([b"\0\0\1\0" * 8])
    write_dicom(tmp_path / "a.dcm", GREY, TransferSyntaxUID=MPEG4HP41, PixelData=data)
    assert "a video (MPEG-4 AVC/H.264 High Profile / Level 4.1) cannot be decoded" in reason(tmp_path / "a.dcm")
    assert "take its frames out" in reason(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    "name", ["examples_jpeg2k.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_rgb_jpeg_dcmtk.dcm"]
)
@pytest.mark.parametrize("change", [(1, -1), (0, 1), (-1, 0)])
def test_a_picture_of_another_size_than_the_headers_is_an_error(tmp_path, name, change):
    dataset = dcmread(get_testdata_file(name, download=False))
    rows, columns = dataset.Rows, dataset.Columns
    dataset.Rows, dataset.Columns = rows + change[0], columns + change[1]
    dataset.save_as(tmp_path / "a.dcm")
    assert f"has {rows} rows and {columns} columns and the header says {dataset.Rows} and {dataset.Columns}" in reason(
        tmp_path / "a.dcm"
    )


def voi_table(sequence, values, first, bits):
    return sequence(LUTDescriptor=[len(values), first, bits], LUTData=np.array(values, dtype="<u2").tobytes())


def test_a_voi_table_is_applied_where_the_file_has_no_window(tmp_path, write_dicom, sequence):
    values = [0, 100, 4000, 65535]
    table = voi_table(sequence, values, 9, 16)
    dataset = write_dicom(tmp_path / "a.dcm", GREY, Modality="OT", VOILUTSequence=table, PixelSpacing=[1, 1])
    scan = only(tmp_path / "a.dcm")
    assert scan.warnings == []
    image = LoadSliced("image", window="voi").read(scan, 0).numpy()
    expected = apply_voi(GREY, dataset) / 65535
    assert expected.tolist()[0] == [0, 100 / 65535, 1]
    np.testing.assert_allclose(image, np.stack([expected] * 3), atol=1e-7)
    # Any other window is the caller's word.
    np.testing.assert_allclose(LoadSliced("image", window=(25, 50)).read(scan, 0).numpy()[0], GREY / 50, atol=1e-6)


def test_a_voi_table_follows_rescale_and_inversion(tmp_path, write_dicom, sequence):
    table = voi_table(sequence, list(range(0, 256, 5)), 5, 8)
    dataset = write_dicom(
        tmp_path / "a.dcm",
        GREY.astype(np.uint8),
        Modality="CR",
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=2,
        RescaleIntercept=-3,
        VOILUTSequence=table,
    )
    image = LoadSliced("image", window="voi").read(only(tmp_path / "a.dcm"), 0).numpy()[0]
    expected = 1 - apply_voi(GREY.astype(np.int64) * 2 - 3, dataset) / 255
    np.testing.assert_allclose(image, expected, atol=1e-6)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_voi_table_of_a_signed_image_starts_below_zero(tmp_path, write_dicom, sequence, syntax):
    table = voi_table(sequence, range(0, 40, 5), -3, 16)
    pixels = np.array([[-9, -3, -2], [0, 2, 7]], dtype=np.int16)
    write_dicom(tmp_path / "a.dcm", pixels, TransferSyntaxUID=syntax, VOILUTSequence=table)
    image = LoadSliced("image", window="voi").read(only(tmp_path / "a.dcm"), 0).numpy()[0]
    np.testing.assert_allclose(image * 65535, [[0, 0, 5], [15, 25, 35]], atol=1e-2)


def test_a_window_goes_before_a_table_and_a_damaged_table_is_a_warning(tmp_path, write_dicom, sequence):
    table = voi_table(sequence, [0, 100], 0, 16)
    write_dicom(tmp_path / "a.dcm", GREY, VOILUTSequence=table, WindowCenter=25, WindowWidth=50)
    scan = only(tmp_path / "a.dcm")
    assert (scan.window, scan.table) == ((25, 50), None)
    damaged = sequence(LUTDescriptor=[9, 0, 16], LUTData=bytes(4))
    write_dicom(tmp_path / "b.dcm", GREY, VOILUTSequence=damaged, PixelSpacing=[1, 1], Modality="OT")
    scan = only(tmp_path / "b.dcm")
    assert [w.split(":")[0] for w in scan.warnings] == ["voi-table-not-used"]
    np.testing.assert_array_equal(scan.read_slice(0), GREY)


def test_a_table_for_enhanced_frames(tmp_path, write_dicom, sequence):
    grey = GREY.repeat(2, axis=1)
    table = voi_table(sequence, list(range(0, 52)), 0, 8)
    write_dicom(
        tmp_path / "a.dcm",
        np.stack([grey, grey + 1]),
        Modality="MR",
        SharedFunctionalGroupsSequence=sequence(FrameVOILUTSequence=sequence(VOILUTSequence=table)),
    )
    image = LoadSliced("image", window="voi").read(only(tmp_path / "a.dcm"), 0).numpy()[0]
    np.testing.assert_allclose(image, grey / 255, atol=1e-6)


def test_fill_bytes_before_a_pictures_size(tmp_path, write_dicom):
    picture = bytes.fromhex(RAMP_CODED[JPEGLosslessSV1])
    filled = picture[:2] + b"\xff\xff" + picture[2:]
    data = encapsulate([filled])
    write_dicom(tmp_path / "a.dcm", RAMP.T.copy(), TransferSyntaxUID=JPEGLosslessSV1, PixelData=data)
    assert "has 6 rows and 8 columns and the header says 8 and 6" in reason(tmp_path / "a.dcm")
    write_dicom(tmp_path / "a.dcm", RAMP, TransferSyntaxUID=JPEGLosslessSV1, PixelData=data)
    assert only(tmp_path / "a.dcm").shape == (8, 6, 1)


def test_table_entries_of_eight_bits_may_be_packed_in_pairs(tmp_path, write_dicom, sequence):
    table = sequence(LUTDescriptor=[4, 0, 8], LUTData=bytes([0, 51, 102, 255]))
    write_dicom(tmp_path / "a.dcm", np.array([[0, 1, 2, 3]], np.uint8), Modality="OT", VOILUTSequence=table)
    image = LoadSliced("image", window="voi").read(only(tmp_path / "a.dcm"), 0).numpy()[0]
    np.testing.assert_allclose(image, [[0, 0.2, 0.4, 1]], atol=1e-6)
