"""The MONAI reader: its volumes against SimpleITK's, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.transforms import EnsureChannelFirst, LoadImage, LoadImaged

from anomalyclip_med.data.naming import hash_uid
from anomalyclip_med.data.reader import DicomReader
from anomalyclip_med.errors import ScanError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def by_itk(folder):
    """The (X, Y, Z) array and the RAS affine of a folder's series."""
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, LPS_TO_RAS @ affine


@pytest.fixture
def oblique(tmp_path, write_series):
    a, b = np.cos(0.3), np.sin(0.3)
    write_series(tmp_path, row=(a, b, 0), column=(-b * 0.6, a * 0.6, -0.8), RescaleSlope=2, RescaleIntercept=-1024)
    return tmp_path


def test_a_plain_series_is_as_itk_reads_it(oblique, phantom):
    volume = LoadImage(reader=DicomReader())(oblique)
    pixels, affine = by_itk(oblique)
    np.testing.assert_array_equal(volume.numpy(), pixels)
    np.testing.assert_array_equal(volume.numpy(), phantom * 2.0 - 1024)
    np.testing.assert_allclose(volume.affine.numpy(), affine, atol=1e-6)
    assert volume.dtype == torch.float32
    assert volume.meta["space"] == "RAS"
    assert tuple(volume.meta["spatial_shape"]) == (5, 4, 3)
    np.testing.assert_array_equal(volume.meta["original_affine"], volume.affine)
    assert EnsureChannelFirst()(volume).shape == (1, 5, 4, 3)


def test_files_of_a_series_are_one_volume_in_a_dictionary(oblique):
    files = sorted(oblique.iterdir())
    item = LoadImaged("image", reader=DicomReader(), ensure_channel_first=True)({"image": files})
    np.testing.assert_array_equal(item["image"][0].numpy(), by_itk(oblique)[0])


@pytest.mark.data
def test_a_real_oblique_series_is_as_itk_reads_it(real_data):
    folder = real_data / "DICOM" / "MR_T1_studyforrest"
    volume = LoadImage(reader=DicomReader())(folder)
    pixels, affine = by_itk(folder)
    np.testing.assert_array_equal(volume.numpy(), pixels)
    np.testing.assert_allclose(volume.affine.numpy(), affine, atol=1e-3)


def test_several_series_are_an_error_that_tells_how_to_choose(tmp_path, write_series, phantom):
    write_series(tmp_path, stem="x")
    write_series(tmp_path, stem="y", volume=phantom + 500, SeriesInstanceUID="1.2.3.5")
    wanted = hash_uid("1.2.3.5")
    with pytest.raises(ScanError, match=f"2 DICOM series, choose one with series=: .*{wanted} \\(CT, 5 x 4 x 3\\)"):
        LoadImage(reader=DicomReader())(tmp_path)
    volume = LoadImage(reader=DicomReader(series=wanted))(tmp_path)
    np.testing.assert_array_equal(volume.numpy(), phantom + 500)
    assert volume.meta["series"] == wanted
    with pytest.raises(ScanError, match="no series abc, there are: "):
        LoadImage(reader=DicomReader(series="abc"))(tmp_path)


def test_no_other_reader_takes_over(tmp_path, write_series):
    """MONAI falls back on its other readers where one raises, and ITK would read a volume of two slices here."""
    write_series(tmp_path)
    cut = tmp_path / "s1.dcm"
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(ScanError, match=r"s1\.dcm: the pixel data .* truncated"):
        LoadImage(reader=DicomReader())(tmp_path)
    cut.write_bytes(cut.read_bytes()[:400])
    with pytest.raises(ScanError, match=r"s1\.dcm: .*; mend it or take it out"):
        LoadImage(reader=DicomReader())(tmp_path)


def test_a_folder_without_dicom_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(ScanError, match="no DICOM series"):
        LoadImage(reader=DicomReader())(tmp_path)
    with pytest.raises(ScanError, match="no such file"):
        LoadImage(reader=DicomReader())(tmp_path / "absent")


def test_what_is_doubtful_is_a_warning_and_stands_in_the_metadata(tmp_path, write_series):
    write_series(tmp_path, step=(0, -1.5, 4))
    with pytest.warns(UserWarning, match="gantry-tilt: "):
        volume = LoadImage(reader=DicomReader())(tmp_path)
    assert volume.meta["warnings"].startswith("gantry-tilt: ")
    np.testing.assert_allclose(volume.affine[:3, 2], [0, 1.5, 4], atol=1e-6)


def test_time_points_and_colours_are_channels(tmp_path, write_series, write_dicom, phantom):
    write_series(tmp_path / "t", stem="a", TemporalPositionIdentifier=2, volume=phantom + 500)
    write_series(tmp_path / "t", stem="b", TemporalPositionIdentifier=1)
    load = LoadImage(reader=DicomReader(), ensure_channel_first=True)
    with pytest.warns(UserWarning, match="repeated-positions"):
        series = load(tmp_path / "t")
    np.testing.assert_array_equal(series.numpy(), np.stack([phantom, phantom + 500]))
    colors = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    write_dicom(tmp_path / "c.dcm", colors, Modality="US", PixelSpacing=[1, 1])
    picture = load(tmp_path / "c.dcm")
    np.testing.assert_array_equal(picture.numpy()[..., 0], colors.transpose(2, 1, 0))
