"""Maps as NIfTI: grid, geometry codes, fixed scale."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from anomalyclip_med.data import find_scans
from anomalyclip_med.writers import MapFile


def written(scan, path: Path) -> nib.Nifti1Image:
    rng = np.random.default_rng(0)
    values = rng.random(scan.shape, dtype=np.float32)
    with MapFile(path, values, scan, "UNTRAINED anomaly map") as file:
        file.store(values[0, 0].size)
    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), values)
    return image


@pytest.mark.parametrize(("qform_code", "sform_code"), [(1, 0), (0, 4), (1, 2), (3, 3)])
def test_nifti_geometry_is_copied_with_its_codes(tmp_path: Path, qform_code: int, sform_code: int) -> None:
    qform = np.array([[-1.0, 0, 0, 10], [0, 0, 2, 20], [0, 3, 0, 30], [0, 0, 0, 1]])
    sform = np.array([[-1.1, 0.1, 0, 11], [0, 0, 2, 21], [0, 3, 0, 31], [0, 0, 0, 1]])
    source = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    source.set_qform(qform, qform_code)
    source.set_sform(sform, sform_code)
    nib.save(source, tmp_path / "source.nii")
    (scan,), _ = find_scans([tmp_path / "source.nii"])
    image = written(scan, tmp_path / "map.nii.gz")
    original = nib.load(tmp_path / "source.nii")
    np.testing.assert_allclose(image.affine, original.affine, atol=1e-6)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (qform_code, sform_code)
    if qform_code:
        np.testing.assert_allclose(image.get_qform(), original.get_qform(), atol=1e-6)
    assert (float(image.header["cal_min"]), float(image.header["cal_max"])) == (0, 1)
    assert image.header["descrip"].item().startswith(b"UNTRAINED")
    assert image.get_data_dtype() == np.float32


def test_four_dimensions_keep_their_time_step(tmp_path: Path) -> None:
    source = nib.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.diag([2.0, 2, 2, 1]))
    source.header.set_zooms((2, 2, 2, 1.5))
    source.header.set_xyzt_units("mm", "sec")
    nib.save(source, tmp_path / "source.nii")
    (scan,), _ = find_scans([tmp_path / "source.nii"])
    image = written(scan, tmp_path / "map.nii.gz")
    assert image.shape == (4, 5, 6, 3)
    assert image.header.get_zooms() == (2, 2, 2, 1.5)
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_void_forms_and_long_axes_do_not_stop_the_map(tmp_path: Path) -> None:
    source = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    source.set_sform(np.diag([2.0, 2, 2, 1]), 1)
    source.header["qform_code"] = 0
    source.header["quatern_b"] = source.header["quatern_c"] = 5.0  # no rotation has these
    nib.save(source, tmp_path / "void.nii")
    (scan,), _ = find_scans([tmp_path / "void.nii"])
    np.testing.assert_allclose(written(scan, tmp_path / "map.nii.gz").affine, np.diag([2.0, 2, 2, 1]))

    Image.new("L", (40000, 2)).save(tmp_path / "wide.png")
    (scan,), _ = find_scans([tmp_path / "wide.png"])
    assert written(scan, tmp_path / "wide.nii.gz").shape == (40000, 2, 1)


def test_dicom_geometry_stands_in_both_forms(tmp_path: Path) -> None:
    (scan,), _ = find_scans([Path(str(get_testdata_file("MR_small.dcm")))])
    image = written(scan, tmp_path / "map.nii.gz")
    np.testing.assert_allclose(image.get_sform(), scan.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), scan.affine, atol=1e-3)


def test_a_sheared_grid_has_no_qform(tmp_path: Path) -> None:
    (scan,), _ = find_scans([Path(str(get_testdata_file("MR_small.dcm")))])
    scan.affine = np.array([[-1.0, 0, 0, 0], [0, -1, 0.8, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
    image = written(scan, tmp_path / "map.nii.gz")
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(image.affine, scan.affine, atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 30, 6), (40, 30, 3, 4)])
def test_a_map_in_parts_is_what_nibabel_saves_at_once(tmp_path: Path, shape: tuple) -> None:
    """Byte for byte once unpacked, also where parts end in the middle of a time point and slices were not scored."""
    affine = np.diag([-0.7, 0.7, 3.0, 1.0])
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), affine), tmp_path / "source.nii")
    (scan,), _ = find_scans([tmp_path / "source.nii"])
    values = np.full(shape, np.nan, np.float32, order="F")
    rng = np.random.default_rng(0)
    with MapFile(tmp_path / "map.nii.gz", values, scan, "a map") as file:
        for planes in (1, 1, 5, 5, int(np.prod(shape[2:]))):
            known = values.reshape(*shape[:2], -1, order="F")  # a view
            known[..., :planes] = np.where(np.isnan(known[..., :planes]), rng.random(1), known[..., :planes])
            file.store(planes)
    image = nib.Nifti1Image(values, affine)
    image.header["descrip"], image.header["cal_max"] = b"a map", 1
    image.header.set_xyzt_units(*nib.load(tmp_path / "source.nii").header.get_xyzt_units())
    image.set_qform(None, 0)
    image.set_sform(affine, 2)
    nib.save(image, tmp_path / "saved.nii")
    assert gzip.decompress((tmp_path / "map.nii.gz").read_bytes()) == (tmp_path / "saved.nii").read_bytes()
