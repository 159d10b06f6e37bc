"""NIfTI, NRRD and MetaImage: pictures and places in all axis orders."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from anomalyclip_med.data import Plane, find_scans
from anomalyclip_med.errors import ScanError

CODES = [
    tuple(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for signs in itertools.product((0, 1), repeat=3)
]
RAS_AFFINE = np.array([[2.0, 0, 0, -7], [0, 3, 0, 11], [0, 0, 4, 5], [0, 0, 0, 1]])
# RAS volume to (slice, row, column): anterior and superior at the top, right or anterior on the left.
REFERENCE = {
    Plane.AUTO: lambda v: v[::-1, ::-1].transpose(2, 1, 0),
    Plane.AXIAL: lambda v: v[::-1, ::-1].transpose(2, 1, 0),
    Plane.CORONAL: lambda v: v[::-1, ::-1, ::-1].transpose(1, 2, 0),
    Plane.SAGITTAL: lambda v: v[::-1, ::-1, ::-1].transpose(0, 2, 1),
}


def only(path, plane=Plane.AUTO):
    (scan,), skipped = find_scans([path], plane)
    assert skipped == []
    return scan


@pytest.mark.parametrize("plane", list(Plane))
def test_all_48_orientations_show_the_same_picture_and_map_back(tmp_path, phantom, plane):
    assert len(set(CODES)) == 48
    reference = REFERENCE[plane](phantom)
    image = nib.Nifti1Image(phantom, RAS_AFFINE)
    for codes in CODES:
        transform = ornt_transform(io_orientation(RAS_AFFINE), axcodes2ornt(codes))
        stored = image.as_reoriented(transform)
        nib.save(stored, tmp_path / "v.nii")
        scan = only(tmp_path / "v.nii", plane)
        np.testing.assert_allclose(scan.affine, RAS_AFFINE @ inv_ornt_aff(transform, phantom.shape))
        assert scan.shape == stored.shape
        assert len(scan.slices) == len(reference)
        for index in range(len(reference)):
            np.testing.assert_array_equal(scan.read_slice(index), reference[index])
        # One pixel written through the view lies where that value lies in the patient.
        volume = np.zeros(scan.shape, dtype=np.float32)
        scan.slice_view(volume, 1)[2, 1] = 1
        (voxel,), (true,) = np.argwhere(volume), np.argwhere(phantom == reference[1][2, 1])
        np.testing.assert_allclose(scan.affine @ [*voxel, 1], RAS_AFFINE @ [*true, 1])
        assert np.all(np.diff([s.position for s in scan.slices]) > 0)


def test_slice_view_is_the_inverse_of_read_slice(tmp_path, phantom):
    affine = RAS_AFFINE.copy()
    affine[:3, :3] = affine[:3, :3] @ np.linalg.qr(np.array([[0.2, 1, 0.3], [-1, 0.1, 0], [0.4, 0, 1]]))[0]
    nib.save(nib.Nifti1Image(phantom, affine), tmp_path / "v.nii.gz")
    for plane in Plane:
        scan = only(tmp_path / "v.nii.gz", plane)
        volume = np.full(scan.shape, -1.0)
        for index in range(len(scan.slices)):
            view = scan.slice_view(volume, index)
            assert view.base is not None
            view[...] = scan.read_slice(index)
        np.testing.assert_array_equal(volume, phantom)
        scan.close()


@pytest.mark.parametrize("plane", list(Plane))
def test_a_slice_may_be_written_to(tmp_path, plane):
    image = sitk.GetImageFromArray(np.ones((3, 3, 3, 3), dtype=np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "v.mha"))
    scan = only(tmp_path / "v.mha", plane)
    assert scan.color
    scan.read_slice(0)[...] = 99
    assert scan.read_slice(0).max() == 1


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_header_and_image_in_two_files(tmp_path, phantom, kind):
    nib.save(kind(phantom, RAS_AFFINE), tmp_path / "v.img")
    (scan,), skipped = find_scans([tmp_path])
    assert skipped == []  # the .img is part of the scan
    assert [file.name for file in scan.files] == ["v.hdr", "v.img"]
    np.testing.assert_allclose(scan.affine, RAS_AFFINE)
    np.testing.assert_array_equal(scan.read_slice(2), REFERENCE[Plane.AXIAL](phantom)[2])


def test_an_analyze_header_does_not_tell_left_from_right(tmp_path, phantom):
    nib.save(nib.AnalyzeImage(phantom, RAS_AFFINE), tmp_path / "v.img")
    scans, skipped = find_scans([tmp_path])
    assert scans == []
    assert {s.path.name: (s.reason, s.unreadable) for s in skipped} == {
        "v.hdr": ("not a NIfTI header", False),
        "v.img": ("not an image", False),
    }


def test_time_points_follow_each_other(tmp_path):
    data = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    nib.save(nib.Nifti1Image(data, np.diag([-1, -1, 1, 1])), tmp_path / "v.nii")
    scan = only(tmp_path / "v.nii")
    assert scan.shape == (2, 3, 4, 5)
    assert [s.frame for s in scan.slices] == [t for t in range(5) for _ in range(4)]
    np.testing.assert_array_equal(scan.read_slice(2 * 4 + 3), data[:, :, 3, 2].T)
    volume = np.zeros(scan.shape)
    scan.slice_view(volume, 2 * 4 + 3)[1, 0] = 1
    assert np.argwhere(volume).tolist() == [[0, 1, 3, 2]]


def test_scaling_window_and_type(tmp_path):
    image = nib.Nifti1Image(np.array([[[0, 100]], [[200, 255]]], dtype=np.uint8), np.diag([-1, -1, 1, 1]))
    image.header.set_slope_inter(2, -1024)
    image.header["cal_min"], image.header["cal_max"] = -100, 300
    nib.save(image, tmp_path / "v.nii.gz")
    scan = only(tmp_path / "v.nii.gz")
    np.testing.assert_array_equal(scan.read_slice(1), [[100 * 2 - 1024, 255 * 2 - 1024]])
    assert scan.window == (100, 400)
    assert scan.stored_range is None


@pytest.mark.parametrize(("shape", "expected"), [((4, 3), (4, 3, 1)), ((4, 3, 2, 1), (4, 3, 2))])
def test_axes_of_one_are_no_time(tmp_path, shape, expected):
    nib.save(nib.Nifti1Image(np.zeros(shape, dtype=np.uint8), np.eye(4)), tmp_path / "v.nii")
    scan = only(tmp_path / "v.nii")
    assert scan.shape == expected
    assert scan.read_slice(0).shape == (3, 4)
    assert scan.stored_range == (0, 255)


def test_rgb_voxels(tmp_path):
    rgb = np.zeros((3, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"], rgb["B"] = 200, np.arange(12).reshape(3, 2, 2)
    nib.save(nib.Nifti1Image(rgb, np.diag([-1, -1, 1, 1])), tmp_path / "v.nii")
    scan = only(tmp_path / "v.nii")
    assert scan.color
    assert scan.shape == (3, 2, 2)
    picture = scan.read_slice(1)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[..., 2], rgb["B"][:, :, 1].T)
    np.testing.assert_array_equal(picture[..., 0], 200)


def test_not_finite_values_are_the_lowest_and_a_warning(tmp_path):
    data = np.array([[[np.nan], [5.0]], [[np.inf], [7.0]]], dtype=np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([-1, -1, 1, 1])), tmp_path / "v.nii")
    scan = only(tmp_path / "v.nii")
    np.testing.assert_array_equal(scan.read_slice(0), [[5, 5], [5, 7]])
    assert scan.warnings[0].startswith("non-finite-values: ")


@pytest.mark.parametrize(
    ("data", "affine", "reason"),
    [
        (np.zeros((2, 2, 2, 2, 3), np.float32), np.eye(4), "5 axes"),
        (np.zeros((2, 2, 2), np.complex64), np.eye(4), "complex64"),
        (np.zeros((2, 2, 2), np.float32), np.diag([1.0, 1, 0, 1]), "singular"),
    ],
)
def test_what_is_not_supported_is_skipped_with_its_reason(tmp_path, data, affine, reason):
    image = nib.Nifti1Image(data, None)
    image.header.set_sform(affine, code=1)
    nib.save(image, tmp_path / "v.nii")
    scans, (skipped,) = find_scans([tmp_path])
    assert scans == []
    assert reason in skipped.reason


def test_truncated_volume_is_an_error_at_reading(tmp_path, phantom):
    nib.save(nib.Nifti1Image(phantom, np.eye(4)), tmp_path / "v.nii")
    (tmp_path / "v.nii").write_bytes((tmp_path / "v.nii").read_bytes()[:-10])
    with pytest.raises(ScanError, match=r"v\.nii: the voxels cannot be read"):
        only(tmp_path / "v.nii").read_slice(0)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_itk_formats_lie_where_itk_puts_them(tmp_path, phantom, suffix):
    image = sitk.GetImageFromArray(phantom.transpose(2, 1, 0))
    image.SetSpacing((0.5, 0.75, 3))
    image.SetOrigin((10, -20, 30))
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    sitk.WriteImage(image, str(tmp_path / f"v{suffix}"))
    scan = only(tmp_path)
    assert scan.format == ("nrrd" if suffix[1] == "n" else "metaimage")
    assert scan.shape == (5, 4, 3)
    lps = np.array(image.TransformIndexToPhysicalPoint((4, 2, 1)))
    np.testing.assert_allclose((scan.affine @ [4, 2, 1, 1])[:3], lps * [-1, -1, 1], atol=1e-9)
    volume = np.zeros(scan.shape)
    for index in range(len(scan.slices)):
        scan.slice_view(volume, index)[...] = scan.read_slice(index)
    np.testing.assert_array_equal(volume, phantom)


def test_a_data_file_elsewhere_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(8))
    (tmp_path / "in" / "v.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = ../secret.raw\n"
    )
    scans, (skipped,) = find_scans([tmp_path / "in"])
    assert scans == []
    assert "same folder" in skipped.reason


def test_header_that_asks_for_terabytes_is_refused_before_allocation(tmp_path):
    (tmp_path / "v.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 90000 90000 9000\nElementType = MET_DOUBLE\nElementDataFile = v.raw\n"
    )
    scans, (skipped,) = find_scans([tmp_path])
    assert scans == []
    assert "limit" in skipped.reason


@pytest.mark.data
def test_real_volumes_agree_with_itk(real_data):
    paths = [*(real_data / "pyradiomics_nrrd").glob("*.nrrd"), real_data / "nifti_misc/niivue/CT_AVM.nii.gz"]
    assert len(paths) > 4
    for path in paths:
        scan = only(path)
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        volume = np.zeros(scan.shape, dtype=np.float32)
        for index in range(len(scan.slices)):
            scan.slice_view(volume, index)[...] = scan.read_slice(index)
        np.testing.assert_allclose(volume, array, rtol=1e-6, atol=1e-4)
        corner = [n - 1 for n in scan.shape]
        lps = np.array(image.TransformIndexToPhysicalPoint(corner))
        np.testing.assert_allclose((scan.affine @ [*corner, 1])[:3], lps * [-1, -1, 1], atol=1e-2)
        scan.close()


@pytest.mark.parametrize("plane", Plane)
def test_planes_are_whole_when_all_their_slices_are_done(tmp_path, plane):
    """In every orientation and over time; as they come where the slices are the file's own planes."""
    at_once = 0
    for codes in CODES:
        transform = ornt_transform(io_orientation(RAS_AFFINE), axcodes2ornt(codes))
        image = nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.int16), RAS_AFFINE).as_reoriented(transform)
        nib.save(image, tmp_path / "v.nii")
        (scan,), _ = find_scans([tmp_path / "v.nii"], plane)
        done = np.zeros(scan.shape, bool)
        for index in range(len(scan.slices)):
            scan.slice_view(done, index)[...] = True
            whole = done.all(axis=(0, 1)).ravel(order="F")
            known = scan.whole_planes(index)
            assert whole[:known].all()
            at_once += known == index + 1 and 0 < index < len(scan.slices) // 2 - 1
        assert known == len(whole)
    # Eight of the 48 have the display's slices as planes from the first on.
    assert at_once >= 8
