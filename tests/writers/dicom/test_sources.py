"""Every kind of source: multi-frame, cine, tilted, irregular, cut in another plane, with time points, dirty."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.uid import generate_uid

from anomalyclip_med.data import find_scans
from anomalyclip_med.data.slicing import Plane
from anomalyclip_med.errors import ScanError
from anomalyclip_med.writers.dicom import DicomOutput
from tests.writers.dicom.conftest import dciodvfy_errors, only_scan, random_map, voxel_position, write

PM, SEG, SC, SR = DicomOutput
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
US_CINE = "1.2.840.10008.5.1.4.1.1.3.1"
PLACED = {"FrameOfReferenceUID": "1.2.9", "SliceThickness": 2}


def frames_of(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Position and pixels of each frame of a parametric map."""
    image = dcmread(path)
    pixels = np.frombuffer(image.FloatPixelData, np.float32).reshape(-1, image.Rows, image.Columns)
    groups = image.PerFrameFunctionalGroupsSequence
    positions = [np.array(g.PlanePositionSequence[0].ImagePositionPatient, dtype=float) for g in groups]
    return list(zip(positions, pixels, strict=True))


@pytest.fixture
def enhanced(tmp_path: Path, write_dicom, sequence, phantom) -> tuple[Path, list[np.ndarray]]:
    """A multi-frame MR whose frames come in mixed order, and their corners in the order of the file."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "enhanced.dcm"
    corners = [np.array([-11.25, 7.5, 3.125 + 2.5 * k]) for k in (1, 2, 0)]
    groups = []
    for corner in corners:
        group = Dataset()
        group.PlanePositionSequence = sequence(ImagePositionPatient=list(corner))
        groups.append(group)
    shared = Dataset()
    shared.PlaneOrientationSequence = sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = sequence(PixelSpacing=[0.7, 0.9], SliceThickness=2.25)
    write_dicom(
        path,
        np.ascontiguousarray(phantom.transpose(2, 1, 0)[[1, 2, 0]]),
        SOPClassUID=ENHANCED_MR,
        Modality="MR",
        FrameOfReferenceUID="1.2.9",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
    )
    return path, corners


def test_multi_frame_source(enhanced, tmp_path: Path, dcmqi_map, dcmqi_segment) -> None:
    path, corners = enhanced
    scan = only_scan(path)
    values = random_map(scan) / 2
    values[3, 1, 2] = 0.96875
    maps, segmentation, *captures, report = write(scan, tmp_path / "out", values, threshold=0.75)
    assert (maps.name, segmentation.name) == (f"{scan.name}_pm.dcm", f"{scan.name}_seg.dcm")
    expected = corners[1] + [3 * 0.9, 1 * 0.7, 0]
    np.testing.assert_allclose(voxel_position(dcmqi_map(maps), 0.96875), expected, atol=0.01)
    np.testing.assert_allclose(voxel_position(dcmqi_segment(segmentation), 1), expected, atol=0.01)

    uid = dcmread(path).SOPInstanceUID
    image = dcmread(maps)
    assert image.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 2.25
    assert [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in image.SourceImageSequence] == [
        (ENHANCED_MR, uid)
    ]
    for group in image.PerFrameFunctionalGroupsSequence:
        (item,) = group.DerivationImageSequence[0].SourceImageSequence
        assert (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) == (ENHANCED_MR, uid)
        corner = corners[item.ReferencedFrameNumber - 1]
        np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient, corner)
    assert {dcmread(c).SourceImageSequence[0].ReferencedFrameNumber for c in captures} <= {1, 2, 3}
    for file in (maps, segmentation, report, *captures):
        assert not dciodvfy_errors(file)


def test_gantry_tilt_keeps_each_slice_where_it_is(tmp_path: Path, write_series) -> None:
    corners = write_series(tmp_path / "in", step=(0, 0.8, 2.4), **PLACED)
    scan = only_scan(tmp_path / "in")
    values = random_map(scan)
    maps, segmentation = write(scan, tmp_path / "out", values, (PM, SEG), threshold=0.5)
    # dcmqi and ITK know no sheared volumes.
    assert [w.partition(":")[0] for w in scan.warnings] == ["gantry-tilt", "no-regular-volume"]
    for (position, pixels), corner, expected in zip(frames_of(maps), corners, values.transpose(2, 1, 0), strict=True):
        np.testing.assert_allclose(position, corner, atol=1e-6)
        np.testing.assert_array_equal(pixels, expected)
    assert not dciodvfy_errors(maps)
    assert not dciodvfy_errors(segmentation)


def test_real_tilted_series(real_data: Path, tmp_path: Path) -> None:
    """28 slices of two distances behind a tilted gantry: every frame lies where its source lies."""
    scan = only_scan(real_data / "DICOM" / "CT_head_GE_gantrytilt")
    values = random_map(scan)
    (maps,) = write(scan, tmp_path / "out", values, (PM,))
    placed = {tuple(p.round(3)): pixels for p, pixels in frames_of(maps)}
    assert len(placed) == 28
    for number, source in enumerate(scan.sources):
        position = dcmread(source.instance.path, stop_before_pixels=True).ImagePositionPatient
        np.testing.assert_array_equal(placed[tuple(np.round(position, 3))], values[:, :, number].T)


def test_time_points_are_objects_of_one_series(tmp_path: Path, write_series, phantom) -> None:
    for time in range(2):
        write_series(
            tmp_path / "in", stem=f"t{time}", volume=phantom + time, **PLACED, TemporalPositionIdentifier=time + 1
        )
    scan = only_scan(tmp_path / "in")
    assert scan.shape == (5, 4, 3, 2)
    values = random_map(scan)
    written = write(scan, tmp_path / "out", values, (PM, SEG))
    assert [p.name.removeprefix(scan.name) for p in written] == [
        "_pm_t01.dcm",
        "_pm_t02.dcm",
        "_seg_t01.dcm",
        "_seg_t02.dcm",
    ]
    objects = [dcmread(p) for p in written]
    assert len({o.SeriesInstanceUID for o in objects}) == 2
    assert len({o.SOPInstanceUID for o in objects}) == 4
    assert [o.InstanceNumber for o in objects] == [1, 2, 1, 2]
    for time in range(2):
        stored = np.stack([pixels for _, pixels in frames_of(written[time])])
        np.testing.assert_array_equal(stored, values[..., time].transpose(2, 1, 0))
    assert not dciodvfy_errors(written[1])


def test_slices_that_were_not_scored_have_no_frame(tmp_path: Path, write_series) -> None:
    corners = write_series(tmp_path / "in", **PLACED)
    scan = only_scan(tmp_path / "in")
    values = random_map(scan)
    values[..., 1] = np.nan
    values[2, 3, 0] = np.nan
    maps, segmentation, report = write(
        scan, tmp_path / "out", values, (PM, SEG, SR), scores=np.array([0.2, np.nan, 0.4]), threshold=0.5
    )
    (first, low), (last, high) = frames_of(maps)
    np.testing.assert_allclose([first, last], [corners[0], corners[2]])
    np.testing.assert_array_equal(high, values[..., 2].T)
    assert low[3, 2] == dcmread(maps).FloatPixelPaddingValue == -1
    low = np.where(low == -1, np.nan, low)
    np.testing.assert_array_equal(low, values[..., 0].T)
    assert dcmread(segmentation).NumberOfFrames == 2
    assert len(hd.sr.srread(report).content.get_image_measurement_groups()) == 3  # the series' and two
    for file in (maps, segmentation, report):
        assert not dciodvfy_errors(file)


def test_a_gap_is_seen_by_other_readers(tmp_path: Path, write_series, dcmqi_segment) -> None:
    volume = np.zeros((5, 4, 6), np.int16)
    corners = write_series(tmp_path / "in", volume=volume, files=tuple(range(6)), **PLACED)
    scan = only_scan(tmp_path / "in")
    values = np.zeros(scan.shape, np.float32)
    values[3, 1, 4], values[..., 2] = 1, np.nan
    maps, segmentation = write(scan, tmp_path / "out", values, (PM, SEG), threshold=0.5)
    expected = corners[4] + [3 * 0.9, 1 * 0.7, 0]
    found = hd.imread(maps).get_volume(allow_missing_positions=True)
    (index,) = np.argwhere(found.array == 1)
    np.testing.assert_allclose(found.map_indices_to_reference(index[np.newaxis])[0], expected, atol=0.01)
    np.testing.assert_allclose(voxel_position(dcmqi_segment(segmentation), 1), expected, atol=0.01)
    assert any(w.startswith("no-regular-volume") for w in scan.warnings)


def test_nothing_scored_is_said(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "in", **PLACED)
    scan = only_scan(tmp_path / "in")
    nothing = np.full(scan.shape, np.nan, np.float32)
    with pytest.raises(ScanError, match="no slice of it was scored"):
        write(scan, tmp_path / "out", nothing, (PM, SEG, SR), scores=np.full(3, np.nan))


@pytest.mark.parametrize("plane", [Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL])
def test_cut_planes_still_give_acquired_frames(tmp_path: Path, write_series, plane: Plane) -> None:
    corners = write_series(tmp_path / "in", row=(0, 1, 0), column=(0, 0, -1), **PLACED)
    scan = only_scan(tmp_path / "in", plane)
    values = random_map(scan)
    written = write(scan, tmp_path / "out", values)
    maps, report, capture = written[0], written[-1], written[2]
    for (position, pixels), corner, expected in zip(frames_of(maps), corners, values.transpose(2, 1, 0), strict=True):
        np.testing.assert_allclose(position, corner, atol=1e-6)
        np.testing.assert_array_equal(pixels, expected)
    referred = 1 if plane is Plane.SAGITTAL else 3
    assert len(dcmread(capture).SourceImageSequence) == referred
    groups = hd.sr.srread(report).content.get_image_measurement_groups()
    assert [len(g.source_images) for g in groups[1:]] == [1 if plane is Plane.SAGITTAL else 0] * len(scan.slices)
    if plane is Plane.SAGITTAL:
        order = [scan.sources[scan.sources_of(i)[0]].instance.path for i in range(3)]
        uids = [dcmread(path).SOPInstanceUID for path in order]
        assert [g.source_images[0].referenced_sop_instance_uid for g in groups[1:]] == uids
    for file in written:
        assert not dciodvfy_errors(file)


@pytest.fixture
def cine(tmp_path: Path, write_dicom) -> Path:
    """A colour ultrasound of four frames, without a place in the patient."""
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    path = tmp_path / "in" / "cine.dcm"
    write_dicom(path, pixels, SOPClassUID=US_CINE, Modality="US")
    return path


def test_cine_gives_a_capture_of_every_frame(cine: Path, tmp_path: Path) -> None:
    scan = only_scan(cine)
    written = write(scan, tmp_path / "out", kinds=(SC, SR), top_slices=1)
    assert [p.name.removeprefix(scan.name) for p in written] == [f"_sc_{i:04d}.dcm" for i in range(4)] + ["_sr.dcm"]
    captures = [dcmread(p) for p in written[:4]]
    assert len({c.SeriesInstanceUID for c in captures}) == 1
    assert [c.SourceImageSequence[0].ReferencedFrameNumber for c in captures] == [1, 2, 3, 4]
    assert "FrameOfReferenceUID" not in captures[0]
    assert "PixelSpacing" not in captures[0]
    groups = hd.sr.srread(written[-1]).content.get_image_measurement_groups()[1:]
    assert [list(g.source_images[0].referenced_frame_numbers) for g in groups] == [[1], [2], [3], [4]]
    for file in written:
        assert not dciodvfy_errors(file)


def test_a_scan_without_place_says_what_there_is(cine: Path, tmp_path: Path) -> None:
    scan = only_scan(cine)
    with pytest.raises(ScanError, match="no FrameOfReferenceUID; secondary captures and NIfTI are available"):
        write(scan, tmp_path / "out", kinds=(PM, SEG))
    # What can be made is made before the rest is said.
    with pytest.raises(ScanError, match="no place in the patient"):
        write(scan, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 5


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"FrameOfReferenceUID": None}, "no FrameOfReferenceUID"),
        ({"PixelSpacing": None, "FrameOfReferenceUID": "1.2.9"}, "no PixelSpacing"),
        ({"ImageOrientationPatient": None, "FrameOfReferenceUID": "1.2.9"}, "a position and an orientation"),
    ],
)
def test_missing_geometry(tmp_path: Path, write_series, elements, reason) -> None:
    write_series(tmp_path / "in", **PLACED)
    for path in (tmp_path / "in").iterdir():
        dataset = dcmread(path)
        for keyword, value in elements.items():
            if value is None:
                delattr(dataset, keyword)
        dataset.save_as(path)
    scan = only_scan(tmp_path / "in")
    with pytest.raises(ScanError, match=reason):
        write(scan, tmp_path / "out", kinds=(PM,))


DIRTY = {
    "StudyDate": "19.4.2020",
    "StudyTime": "25:61",
    "PatientBirthDate": "UNKNOWN",
    "PatientSex": "MALE",
    "PatientAge": "42",
    "AccessionNumber": "A" * 40,
    "SliceThickness": "-1",
}


@pytest.mark.filterwarnings("ignore")
def test_dirty_headers_give_valid_objects(tmp_path: Path, write_series) -> None:
    """Malformed values are left out by name; missing ones are empty; texts of any charset stay readable."""
    write_series(tmp_path / "in", FrameOfReferenceUID="1.2.9", PatientID=None)
    for path in (tmp_path / "in").iterdir():
        dataset = dcmread(path)
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName = "Müller"
        for keyword, value in DIRTY.items():
            dataset.add_new(keyword, dictionary_VR(keyword), value)
        dataset.save_as(path)
    scan = only_scan(tmp_path / "in")
    written = write(scan, tmp_path / "out")
    (warning,) = [w for w in scan.warnings if w.startswith("malformed-header")]
    assert all(keyword in warning for keyword in DIRTY)
    assert not any(str(value) in warning for value in DIRTY.values() if value != "-1")
    assert any(w.startswith("missing-slice-thickness") for w in scan.warnings)
    for file in written:
        dataset = dcmread(file)
        assert dataset.PatientName == "Müller"
        assert (dataset.PatientID, dataset.StudyDate, dataset.StudyID, dataset.PatientSex) == ("", "", "", "")
        assert not dciodvfy_errors(file)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_missing_identifiers_are_named(tmp_path: Path, write_series, keyword: str) -> None:
    write_series(tmp_path / "in", **PLACED, **{keyword: None})
    scan = find_scans([tmp_path / "in"])[0][0]
    with pytest.raises(ScanError, match=rf"{keyword} is missing or malformed") as error:
        write(scan, tmp_path / "out")
    assert "SECRET" not in str(error.value)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 6)).save(tmp_path / "a.png")
    (scan,), _ = find_scans([tmp_path / "a.png"])
    with pytest.raises(ScanError, match="DICOM scans only"):
        write(scan, tmp_path / "out")


def test_retired_and_unknown_classes_are_referred_to(tmp_path: Path, write_dicom) -> None:
    for sop_class in ("1.2.840.10008.5.1.4.1.1.3", generate_uid()):
        folder = tmp_path / sop_class[-8:]
        folder.mkdir()
        write_dicom(folder / "a.dcm", np.zeros((6, 8), np.uint8), SOPClassUID=sop_class, Modality="US")
        *_, report = write(only_scan(folder), tmp_path / "out", kinds=(SC, SR))
        ((_, _, _, found),) = hd.sr.srread(report).get_evidence()
        assert found == sop_class


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_public_files_give_valid_objects(tmp_path: Path, name: str) -> None:
    scan = only_scan(Path(str(get_testdata_file(name))))
    written = write(scan, tmp_path / "out")
    assert len(written) == 4
    for file in written:
        assert not dciodvfy_errors(file)


TOLERATED = (
    # A root that no one may have is the source's own UID, and a reference has to repeat it.
    "Illegal root for UID",
    # MR_small_bigendian.dcm and others have one UID for the study and the frame of reference.
    "StudyInstanceUID has same value as FrameOfReferenceUID",
    # SC_rgb_rle_16bit_2frame.dcm and its like have two frames in a class that has one, and one of them is meant.
    "ReferencedFrameNumber(0008,1160)> - Shall not be present for Referenced SOP Class that is not multi-frame",
)


@pytest.mark.filterwarnings("ignore")
def test_every_real_file_gives_objects_or_a_named_error(real_data: Path, tmp_path: Path) -> None:
    public = Path(str(get_testdata_file("CT_small.dcm"))).parent
    scans = [s for s in find_scans([public, real_data / "DICOM"])[0] if s.format == "dicom" and np.prod(s.shape) < 2e6]
    assert len(scans) > 40
    reasons = []
    for scan in scans:
        try:
            write(scan, tmp_path / scan.name)
        except ScanError as error:
            reasons.append(str(error))
    assert all("no place in the patient" in r or "missing or malformed" in r for r in reasons)
    files = list(tmp_path.rglob("*.dcm"))
    assert len(files) > 100
    errors = {e for file in files for e in dciodvfy_errors(file) if not any(t in e for t in TOLERATED)}
    assert not errors
