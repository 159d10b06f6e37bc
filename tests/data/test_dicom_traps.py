"""The ways in which DICOM folders mislead readers, one test each: what is read, where it lies in mm, what is told.

Further rows of the same list: order by position, gantry tilt, irregular gaps, localizers and ambiguous UIDs are in
`test_dicom_geometry`; rescale, MONOCHROME1, padding, palettes, calibrated cine and truncated frames in
`test_dicom_pixels`; every encoding in `test_dicom_encodings`; budgets in `test_discovery`.
"""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.fileset import FileSet

from anomalyclip_med.data import find_scans
from anomalyclip_med.errors import ScanError

FIRST = np.array([-11.25, 7.5, 3.125])  # of `write_series`, LPS mm


def codes(scan):
    return [w.split(":")[0] for w in scan.warnings]


def place(scan, column, row, index):
    """LPS mm of a voxel."""
    return (scan.affine @ [column, row, index, 1])[:3] * [-1, -1, 1]


def assert_plain_series(scan, phantom):
    """The scan is what `write_series` writes by default, voxel for voxel and millimetre for millimetre."""
    assert scan.shape == phantom.shape
    for index in range(phantom.shape[2]):
        np.testing.assert_array_equal(scan.read_slice(index), phantom[:, :, index].T)
        np.testing.assert_allclose(place(scan, 0, 0, index), np.add(FIRST, [0, 0, 2.5 * index]), atol=1e-6)
        assert scan.slices[index].position == pytest.approx(3.125 + 2.5 * index)
    np.testing.assert_allclose(place(scan, 4, 3, 0), np.add(FIRST, [4 * 0.9, 3 * 0.7, 0]), atol=1e-6)


def test_two_interleaved_series(tmp_path, write_series, phantom):
    write_series(tmp_path, files=(0, 1, 2))
    write_series(tmp_path, files=(0, 1, 2), stem="t", volume=phantom + 500, SeriesInstanceUID="1.2.3.5")
    for number in range(3):  # file by file, and with the same InstanceNumber
        (tmp_path / f"s{number}.dcm").rename(tmp_path / f"{number}a.dcm")
        (tmp_path / f"t{number}.dcm").rename(tmp_path / f"{number}b.dcm")
    (one, other), skipped = find_scans([tmp_path])
    assert skipped == []
    assert_plain_series(one, phantom)
    assert_plain_series(other, phantom + 500)
    assert codes(one) == codes(other) == []


def test_objects_that_are_no_images_lie_beside_the_series(tmp_path, write_series, write_dicom, phantom):
    write_series(tmp_path)
    no_pixels = dict.fromkeys(["PixelData", "Rows", "Columns"])
    black = np.zeros((2, 4), np.uint8)
    write_dicom(tmp_path / "sr.dcm", black, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR", **no_pixels)
    write_dicom(tmp_path / "pr.dcm", black, SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1", Modality="PR", **no_pixels)
    write_dicom(tmp_path / "seg.dcm", black, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG")
    files = FileSet()
    files.write(tmp_path)
    (tmp_path / "notes.txt").write_text("text")
    (scan,), skipped = find_scans([tmp_path])
    assert_plain_series(scan, phantom)
    assert codes(scan) == []
    reasons = {s.path.name: s.reason for s in skipped}
    assert reasons == {
        "DICOMDIR": "no image pixels (Media Storage Directory Storage)",
        "notes.txt": "not an image",
        "pr.dcm": "no image pixels (Grayscale Softcopy Presentation State Storage)",
        "seg.dcm": "Segmentation Storage is a derived object or not a scan (Segmentation)",
        "sr.dcm": "no image pixels (Comprehensive SR Storage)",
    }
    assert not any(s.unreadable for s in skipped)


def test_duplicates(tmp_path, write_series, phantom):
    write_series(tmp_path)
    for number in range(3):
        (tmp_path / f"copy{number}.dcm").write_bytes((tmp_path / f"s{number}.dcm").read_bytes())
    (scan,), skipped = find_scans([tmp_path])
    assert_plain_series(scan, phantom)
    assert codes(scan) == ["duplicate-instances"]
    assert "3 files" in scan.warnings[0]
    assert len(skipped) == 3


def test_instance_numbers_against_the_order(tmp_path, write_series, phantom):
    write_series(tmp_path, files=(2, 1, 0))
    (scan,), _ = find_scans([tmp_path])
    assert_plain_series(scan, phantom)
    assert codes(scan) == []


def test_a_missing_slice(tmp_path, write_series):
    volume = np.arange(5 * 4 * 6, dtype=np.int16).reshape(5, 4, 6)
    write_series(tmp_path, volume=volume, files=(0, 1, 2, 4, 5))
    (scan,), _ = find_scans([tmp_path])
    assert codes(scan) == ["irregular-spacing"]
    assert "from 2.50 to 5.00 mm" in scan.warnings[0]
    np.testing.assert_allclose([s.position for s in scan.slices], 3.125 + 2.5 * np.array([0, 1, 2, 4, 5]))
    np.testing.assert_allclose(
        place(scan, 0, 0, 4), np.add(FIRST, [0, 0, 12.5]), atol=1e-6
    )  # the affine is right at the ends
    np.testing.assert_array_equal(scan.read_slice(3), volume[:, :, 4].T)


def test_missing_pixel_spacing(tmp_path, write_dicom, phantom):
    for k in range(3):
        write_dicom(
            tmp_path / f"{k}.dcm",
            phantom[:, :, k].T.copy(),
            ImagePositionPatient=[10, 20, 30 + 4 * k],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )
    (scan,), _ = find_scans([tmp_path])
    assert codes(scan) == ["missing-pixel-spacing"]
    assert "1 mm is assumed" in scan.warnings[0]
    np.testing.assert_allclose(place(scan, 2, 3, 1), [12, 23, 34])


def test_slices_of_another_size_in_the_series(tmp_path, write_series, phantom):
    write_series(tmp_path)
    write_series(tmp_path, stem="t", volume=phantom[:3], spacing=(0.7, 1.5))
    (scan, other), _ = find_scans([tmp_path])
    assert_plain_series(scan, phantom)
    assert other.shape == (3, 4, 3)
    np.testing.assert_allclose(place(other, 2, 0, 2), np.add(FIRST, [3, 0, 5]), atol=1e-6)
    assert other.series == f"{scan.series}_2"


@pytest.mark.parametrize(
    ("modality", "sop_class"), [("CT", "1.2.840.10008.5.1.4.1.1.2.1"), ("MR", "1.2.840.10008.5.1.4.1.1.4.1")]
)
def test_enhanced_multi_frame(tmp_path, write_dicom, sequence, phantom, modality, sop_class):
    order = (1, 2, 0)
    per_frame = [
        sequence(
            PlanePositionSequence=sequence(ImagePositionPatient=[*FIRST[:2], FIRST[2] + 2.5 * k]),
            PixelValueTransformationSequence=sequence(RescaleSlope=1 + k, RescaleIntercept=-1000 - k),
        )[0]
        for k in order
    ]
    shared = sequence(
        PlaneOrientationSequence=sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=sequence(PixelSpacing=[0.7, 0.9]),
    )
    write_dicom(
        tmp_path / "e.dcm",
        np.stack([phantom[:, :, k].T for k in order]),
        SOPClassUID=sop_class,
        Modality=modality,
        SharedFunctionalGroupsSequence=shared,
        PerFrameFunctionalGroupsSequence=per_frame,
    )
    (scan,), _ = find_scans([tmp_path])
    assert codes(scan) == []
    assert [s.frame for s in scan.slices] == [2, 0, 1]
    for k in range(3):
        np.testing.assert_allclose(place(scan, 0, 0, k), np.add(FIRST, [0, 0, 2.5 * k]), atol=1e-6)
        np.testing.assert_array_equal(scan.read_slice(k), phantom[:, :, k].T * (1.0 + k) - 1000 - k)


def test_cine_frames_are_neither_rows_nor_depth(tmp_path, write_dicom, sequence):
    frames = np.arange(6 * 4 * 5 * 3, dtype=np.uint16).reshape(6, 4, 5, 3).astype(np.uint8)
    region = sequence(
        PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3, PhysicalDeltaX=0.05, PhysicalDeltaY=0.02,
        RegionLocationMinX0=0, RegionLocationMinY0=0, RegionLocationMaxX1=4, RegionLocationMaxY1=3,
    )  # fmt: skip
    write_dicom(tmp_path / "us.dcm", frames, Modality="US", SequenceOfUltrasoundRegions=region)
    (scan,), _ = find_scans([tmp_path])
    assert scan.shape == (5, 4, 6)
    assert codes(scan) == []
    assert [s.frame for s in scan.slices] == list(range(6))
    assert [s.position for s in scan.slices] == [None] * 6
    np.testing.assert_allclose(place(scan, 2, 3, 0), [2 * 0.5, 3 * 0.2, 0])
    for index in range(6):
        np.testing.assert_array_equal(scan.read_slice(index), frames[index])


def test_a_truncated_slice_keeps_its_place(tmp_path, write_series, phantom):
    write_series(tmp_path, files=(0, 1, 2))
    cut = tmp_path / "s1.dcm"
    cut.write_bytes(cut.read_bytes()[:-5])
    (scan,), skipped = find_scans([tmp_path])
    assert skipped == []
    assert scan.shape == (5, 4, 3)
    with pytest.raises(ScanError, match=r"s1\.dcm: the pixel data .* truncated") as error:
        scan.read_slice(1)
    assert "SECRET" not in str(error.value)
    for index in (0, 2):
        np.testing.assert_array_equal(scan.read_slice(index), phantom[:, :, index].T)
        np.testing.assert_allclose(place(scan, 0, 0, index), np.add(FIRST, [0, 0, 2.5 * index]), atol=1e-6)


def test_four_dimensions(tmp_path, write_series, phantom):
    for time in range(4):
        write_series(tmp_path, stem=f"t{3 - time}", AcquisitionNumber=time + 1, volume=phantom + 100 * time)
    (scan,), _ = find_scans([tmp_path])
    assert scan.shape == (5, 4, 3, 4)
    assert codes(scan) == ["repeated-positions"]
    assert "4 times" in scan.warnings[0]
    for index in range(12):
        time, k = divmod(index, 3)
        assert scan.slices[index].position == pytest.approx(3.125 + 2.5 * k)
        np.testing.assert_array_equal(scan.read_slice(index), phantom[:, :, k].T + 100 * time)
    np.testing.assert_allclose(place(scan, 4, 3, 2), np.add(FIRST, [3.6, 2.1, 5]), atol=1e-6)


def test_padding_of_a_signed_series(tmp_path, write_series, phantom):
    """A scanner's -2000 outside of the field of view would be the darkest of all and stretch every window."""
    volume = phantom.copy()
    volume[0] = -2000
    write_series(tmp_path, volume=volume, PixelPaddingValue=-2000, RescaleSlope=1, RescaleIntercept=-1024)
    (scan,), _ = find_scans([tmp_path])
    assert codes(scan) == []
    for k in range(3):
        expected = volume[:, :, k].T - 1024.0
        expected[:, 0] = expected[:, 1:].min()
        np.testing.assert_array_equal(scan.read_slice(k), expected)
    np.testing.assert_allclose(place(scan, 0, 0, 2), np.add(FIRST, [0, 0, 5]), atol=1e-6)
