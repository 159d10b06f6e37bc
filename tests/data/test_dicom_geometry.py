"""Order, grouping and affine of synthetic DICOM series, against numbers worked out from the headers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from anomalyclip_med.data import Plane, find_scans
from anomalyclip_med.data.naming import hash_uid

A, B = np.cos(0.3), np.sin(0.3)
ORIENTATIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "reversed": ((-1, 0, 0), (0, 1, 0)),
    "oblique": ((A, B, 0), (-B * 0.6, A * 0.6, -0.8)),
}


def codes(warnings):
    return [w.split(":")[0] for w in warnings]


def only(paths, **kwargs):
    scans, skipped = find_scans(paths, **kwargs)
    assert skipped == []
    (scan,) = scans
    return scan


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_affine_maps_voxels_to_the_headers_millimetres(tmp_path, write_series, phantom, name):
    row, column = ORIENTATIONS[name]
    corners = write_series(tmp_path, row=row, column=column)
    scan = only([tmp_path])
    assert scan.shape == (5, 4, 3)
    assert scan.warnings == []
    for c, r, k in itertools.product(range(5), range(4), range(3)):
        lps = corners[k] + 0.9 * c * np.array(row) + 0.7 * r * np.array(column)
        np.testing.assert_allclose((scan.affine @ [c, r, k, 1])[:3], lps * [-1, -1, 1], atol=1e-6)
        assert scan.read_slice(k)[r, c] == phantom[c, r, k]
    normal = np.cross(row, column)
    np.testing.assert_allclose([s.position for s in scan.slices], [p @ normal for p in corners], atol=1e-6)


@pytest.mark.parametrize("files", list(itertools.permutations(range(3))))
def test_the_order_is_by_position_whatever_names_and_numbers_say(tmp_path, write_series, phantom, files):
    write_series(tmp_path, files=files)
    scan = only([tmp_path])
    for k in range(3):
        np.testing.assert_array_equal(scan.read_slice(k), phantom[:, :, k].T)


def test_identifiers_are_hashed_and_nothing_names_the_patient(tmp_path, write_series):
    write_series(tmp_path)
    scan = only([tmp_path])
    assert scan.study == hash_uid("1.2.3")
    assert scan.series == hash_uid("1.2.3.4")
    assert scan.name == f"CT_{hash_uid('1.2.3.4')[:12]}"
    assert scan.source == tmp_path
    assert (scan.format, scan.modality, scan.color) == ("dicom", "CT", False)
    assert len({s.instance for s in scan.slices}) == 3
    assert "SECRET" not in repr(vars(scan))


def test_two_series_in_one_folder_are_two_scans(tmp_path, write_series, phantom):
    write_series(tmp_path, stem="x")
    write_series(tmp_path, stem="y", volume=phantom + 500, SeriesInstanceUID="1.2.3.5")
    scans, _ = find_scans([tmp_path])
    assert [s.shape for s in scans] == [(5, 4, 3)] * 2
    assert [s.read_slice(0)[0, 0] for s in scans] == [3, 503]


def test_a_localizer_in_the_series_is_a_scan_of_its_own(tmp_path, write_series):
    write_series(tmp_path)
    write_series(tmp_path, stem="t", column=(0, 0, -1), files=(0,))
    scans, _ = find_scans([tmp_path])
    assert [s.shape for s in scans] == [(5, 4, 3), (5, 4, 1)]
    stem = f"CT_{hash_uid('1.2.3.4')[:12]}"
    assert [s.name for s in scans] == [stem, f"{stem}_2"]
    assert scans[1].series == f"{hash_uid('1.2.3.4')}_2"


def test_duplicates_are_dropped_with_a_warning(tmp_path, write_series):
    write_series(tmp_path)
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "s1.dcm").read_bytes())
    scans, skipped = find_scans([tmp_path])
    assert scans[0].shape == (5, 4, 3)
    assert codes(scans[0].warnings) == ["duplicate-instances"]
    assert [s.path.name for s in skipped] == ["s1.dcm"]


def test_one_uid_for_all_slices_loses_none(tmp_path, write_series):
    write_series(tmp_path, SOPInstanceUID="1.2.3.4.5")
    scan = only([tmp_path])
    assert scan.shape == (5, 4, 3)
    assert codes(scan.warnings) == ["ambiguous-instance-uid"]


def test_missing_positions_fall_back_to_instance_numbers(tmp_path, write_dicom, phantom):
    for name, k in (("a", 2), ("b", 0), ("c", 1)):
        write_dicom(tmp_path / name, phantom[:, :, k].T.copy(), InstanceNumber=k, PixelSpacing=[2, 3], SliceThickness=4)
    scan = only([tmp_path])
    assert codes(scan.warnings) == ["missing-position"]
    assert [s.position for s in scan.slices] == [None] * 3
    for k in range(3):
        np.testing.assert_array_equal(scan.read_slice(k), phantom[:, :, k].T)
    np.testing.assert_array_equal(scan.affine, np.diag([-3.0, -2.0, 4.0, 1.0]))


def test_gantry_tilt_shears_the_affine(tmp_path, write_series):
    corners = write_series(tmp_path, step=(0, -1.5, 4))
    scan = only([tmp_path])
    np.testing.assert_allclose(scan.affine[:3, 2], [0, 1.5, 4], atol=1e-9)
    for k in range(3):
        np.testing.assert_allclose(scan.affine[:3, 3] + k * scan.affine[:3, 2], corners[k] * [-1, -1, 1], atol=1e-9)
    assert codes(scan.warnings) == ["gantry-tilt"]
    assert f"{np.degrees(np.arctan2(1.5, 4)):.1f} degrees" in scan.warnings[0]


def test_irregular_spacing_keeps_true_positions(tmp_path, write_series):
    write_series(tmp_path, files=(0, 1, 2))
    write_series(tmp_path, stem="far", step=(0, 0, 7.4), files=(2,))
    scan = only([tmp_path])
    np.testing.assert_allclose([s.position for s in scan.slices], [3.125, 5.625, 8.125, 17.925])
    assert codes(scan.warnings) == ["irregular-spacing"]
    assert "run from 2.50 to 9.80 mm" in scan.warnings[0]
    np.testing.assert_allclose(scan.affine[2, 2], (17.925 - 3.125) / 3)


def test_equally_repeated_positions_are_time_points(tmp_path, write_series, phantom):
    write_series(tmp_path, stem="a", TemporalPositionIdentifier=2, volume=phantom + 500)
    write_series(tmp_path, stem="b", TemporalPositionIdentifier=1)
    scan = only([tmp_path])
    assert scan.shape == (5, 4, 3, 2)
    assert [s.frame for s in scan.slices] == [0, 0, 0, 1, 1, 1]
    for index in range(6):
        expected = phantom[:, :, index % 3].T + 500 * (index // 3)
        np.testing.assert_array_equal(scan.read_slice(index), expected)
    volume = np.zeros(scan.shape)
    scan.slice_view(volume, 4)[1, 2] = 9
    assert np.argwhere(volume).tolist() == [[2, 1, 1, 1]]


@pytest.mark.parametrize("name", ["axial", "coronal", "sagittal", "reversed"])
@pytest.mark.parametrize("plane", [Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL])
def test_a_regular_series_can_be_cut_in_any_plane(tmp_path, write_series, phantom, name, plane):
    row, column = ORIENTATIONS[name]
    write_series(tmp_path, row=row, column=column)
    scan = only([tmp_path], plane=plane)
    assert scan.warnings == []
    volume = np.zeros(scan.shape)
    for index in range(len(scan.slices)):
        scan.slice_view(volume, index)[...] = scan.read_slice(index)
    np.testing.assert_array_equal(volume, phantom)
    # The direction from pixel to pixel is the display convention's, in RAS.
    columns, rows = {
        Plane.AXIAL: ((-1, 0, 0), (0, -1, 0)),
        Plane.CORONAL: ((-1, 0, 0), (0, 0, -1)),
        Plane.SAGITTAL: ((0, -1, 0), (0, 0, -1)),
    }[plane]
    places = [world_of(scan, phantom, scan.read_slice(0)[at]) for at in ((0, 0), (0, 1), (1, 0))]
    assert (places[1] - places[0]) @ columns > 0.5
    assert (places[2] - places[0]) @ rows > 0.5
    positions = [s.position for s in scan.slices]
    assert positions == sorted(positions)
    scan.close()


def world_of(scan, phantom, value):
    (voxel,) = np.argwhere(phantom == value)
    return (scan.affine @ [*voxel, 1])[:3]


def test_a_plane_across_a_tilted_series_falls_back_with_a_warning(tmp_path, write_series, phantom):
    write_series(tmp_path, step=(0, -1.5, 4))
    scan = only([tmp_path], plane=Plane.CORONAL)
    assert codes(scan.warnings) == ["gantry-tilt", "plane-not-available"]
    np.testing.assert_array_equal(scan.read_slice(1), phantom[:, :, 1].T)


def test_enhanced_frames_are_sorted_by_their_own_positions(tmp_path, write_dicom, sequence, phantom):
    frames = np.stack([phantom[:, :, k].T for k in (1, 2, 0)])
    per_frame = [
        sequence(
            PlanePositionSequence=sequence(ImagePositionPatient=[1, 2, 3 + 5 * k]),
            PixelValueTransformationSequence=sequence(RescaleSlope=2, RescaleIntercept=-k),
        )[0]
        for k in (1, 2, 0)
    ]
    shared = sequence(
        PlaneOrientationSequence=sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=sequence(PixelSpacing=[0.5, 0.25]),
        FrameVOILUTSequence=sequence(WindowCenter=100, WindowWidth=300),
    )
    write_dicom(
        tmp_path / "e.dcm",
        frames,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
        Modality="MR",
        SharedFunctionalGroupsSequence=shared,
        PerFrameFunctionalGroupsSequence=per_frame,
    )
    scan = only([tmp_path])
    assert scan.warnings == []
    assert scan.window == (100, 300)
    assert [s.frame for s in scan.slices] == [2, 0, 1]
    assert [s.position for s in scan.slices] == [3, 8, 13]
    np.testing.assert_allclose(scan.affine @ [1, 1, 1, 1], [-1.25, -2.5, 8, 1])
    for k in range(3):
        np.testing.assert_array_equal(scan.read_slice(k), phantom[:, :, k].T * 2.0 - k)


def nuclear_medicine(image_type):
    kind = ["ORIGINAL", "PRIMARY", image_type, "EMISSION"]
    return {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.20", "Modality": "NM", "ImageType": kind}


@pytest.mark.parametrize("sign", [1, -1])
def test_nuclear_medicine_slices_lie_where_their_detector_says(tmp_path, write_dicom, sequence, phantom, sign):
    """PS3.3 C.8.4.15: a positive spacing stacks along the normal, a negative one against it."""
    row, column = np.array([0.8, 0.6, 0]), np.array([0, 0, -1.0])
    frames = np.stack([phantom[:, :, k].T for k in range(3)])
    detector = sequence(ImagePositionPatient=[10, 20, 30], ImageOrientationPatient=[*row, *column])
    write_dicom(
        tmp_path / "a.dcm",
        frames,
        **nuclear_medicine("RECON TOMO"),
        PixelSpacing=[2, 3],
        SpacingBetweenSlices=5 * sign,
        SliceVector=[1, 2, 3],
        DetectorInformationSequence=detector,
    )
    scan = only([tmp_path])
    assert scan.warnings == []
    normal = np.cross(row, column)
    for k in range(3):
        index = k if sign > 0 else 2 - k
        corner = (np.array([10, 20, 30]) + k * 5 * sign * normal) * [-1, -1, 1]
        np.testing.assert_allclose((scan.affine @ [0, 0, index, 1])[:3], corner, atol=1e-6)
        np.testing.assert_array_equal(scan.read_slice(index), frames[k])
    np.testing.assert_allclose(scan.affine[:3, 0], row * 3 * [-1, -1, 1], atol=1e-9)
    np.testing.assert_allclose(scan.affine[:3, 1], column * 2 * [-1, -1, 1], atol=1e-9)


def test_nuclear_medicine_time_slots_are_time_points(tmp_path, write_dicom, sequence):
    frames = np.arange(4 * 2 * 4, dtype=np.uint16).reshape(4, 2, 4)
    write_dicom(
        tmp_path / "a.dcm",
        frames,
        **nuclear_medicine("RECON GATED TOMO"),
        PixelSpacing=[2, 2],
        SpacingBetweenSlices=5,
        SliceVector=[1, 2, 1, 2],
        DetectorInformationSequence=sequence(
            ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
        ),
    )
    scan = only([tmp_path])
    assert scan.shape == (4, 2, 2, 2)
    assert codes(scan.warnings) == ["repeated-positions"]
    assert [s.position for s in scan.slices] == [0, 5, 0, 5]
    for index in range(4):
        np.testing.assert_array_equal(scan.read_slice(index), frames[index])


def test_nuclear_medicine_projections_have_no_place(tmp_path, write_dicom, sequence):
    write_dicom(
        tmp_path / "a.dcm",
        np.zeros((3, 2, 4), np.uint16),
        **nuclear_medicine("TOMO"),
        PixelSpacing=[2, 2],
        DetectorInformationSequence=sequence(
            ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
        ),
    )
    scan = only([tmp_path])
    assert scan.shape == (4, 2, 3)
    assert [s.position for s in scan.slices] == [None] * 3
    assert codes(scan.warnings) == ["missing-position"]
