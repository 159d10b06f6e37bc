"""What the fuzzer found: damaged files are named errors, in no more time and memory than their size is worth."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from anomalyclip_med.data import dicom_header, find_scans
from anomalyclip_med.errors import ScanError


def refusal(path):
    scans, (skipped,) = find_scans([path])
    assert scans == []
    assert skipped.unreadable
    return skipped.reason


def nrrd(**fields):
    header = {"type": "short", "dimension": "3", "sizes": "6 5 4", "encoding": "raw", "endian": "little"} | fields
    return b"NRRD0004\n" + "".join(f"{k}: {v}\n" for k, v in header.items()).encode() + b"\n" + bytes(240)


@pytest.mark.parametrize("field", ["type", "dimension", "sizes", "encoding", "endian"])
def test_long_nrrd_fields_do_not_end_the_process(tmp_path, field):
    (tmp_path / "v.nrrd").write_bytes(nrrd(**{field: "x" * 5000}))
    assert "too long" in refusal(tmp_path / "v.nrrd")


def test_long_nrrd_comments_are_no_damage(tmp_path):
    (tmp_path / "v.nrrd").write_bytes(
        nrrd().replace(b"\n", b"\n# " + b"x" * 5000 + b"\nkey:=" + b"y" * 5000 + b"\n", 1)
    )
    (scan,), _ = find_scans([tmp_path / "v.nrrd"])
    assert scan.read_slice(0).shape == (5, 6)


@pytest.mark.parametrize("dimensions", ["0", "-1", "200", "1e39 4096", "x"])
def test_metaimage_of_many_dimensions_does_not_end_the_process(tmp_path, dimensions):
    (tmp_path / "v.mha").write_bytes(
        f"ObjectType = Image\nNDims = {dimensions}\nDimSize = 6 5 4\nElementType = MET_SHORT\n"
        "ElementDataFile = LOCAL\n".encode()
        + bytes(240)
    )
    assert "dimensions" in refusal(tmp_path / "v.mha")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_no_memory_is_taken_for_voxels_that_are_not_there(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    if suffix == ".nrrd":
        path.write_bytes(nrrd(sizes="1000 1000 1000", encoding="gzip"))
    else:
        content = bytearray(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes())
        content[42:48] = np.full(3, 1000, "<i2").tobytes()
        path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    (scan,), _ = find_scans([path])
    tracemalloc.start()
    for index in range(3):
        with pytest.raises(ScanError, match=r"v\.n.*: the voxels cannot be read"):
            scan.read_slice(index)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_damaged_volume_is_loaded_once(tmp_path, monkeypatch):
    content = gzip.compress(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)).to_bytes()[:-10])
    (tmp_path / "v.nii.gz").write_bytes(content)
    (scan,), _ = find_scans([tmp_path])
    loads = []
    load = scan._load
    monkeypatch.setattr(scan, "_load", lambda: loads.append(1) or load())
    for index in range(3):
        with pytest.raises(ScanError, match="truncated or damaged"):
            scan.read_slice(index)
    assert len(loads) == 1


@pytest.mark.parametrize("scale", [1e-300, 1e300])
@pytest.mark.parametrize("skew", [0, 1e-9])
def test_axes_in_one_plane_are_refused(tmp_path, scale, skew):
    affine = np.array([[1, 1, 0, 0], [0, skew, 0, 0], [0, 0, scale, 0], [0, 0, 0, 1]])
    content = bytearray(nib.Nifti2Image(np.zeros((3, 3, 3), np.int16), np.eye(4)).to_bytes())
    content[400:496] = affine[:3].astype("<f8").tobytes()  # the sform
    (tmp_path / "v.nii").write_bytes(content)
    assert "affine is singular" in refusal(tmp_path / "v.nii")


def tiff_entry(path, tag):
    """The place of a tag of the first directory of a little-endian TIFF file."""
    with tifffile.TiffFile(path) as tiff:
        return tiff.pages.first.tags[tag].offset


@pytest.mark.parametrize("tag", ["ImageLength", "ImageWidth"])
def test_tiff_without_rows_or_columns(tmp_path, tag):
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, np.zeros((4, 5), np.uint8))
    content = bytearray(path.read_bytes())
    at = tiff_entry(path, tag)
    content[at + 8 : at + 12] = bytes(4)
    path.write_bytes(content)
    assert "holds no full picture" in refusal(path)


def test_tiff_size_of_several_values(tmp_path):
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, np.zeros((4, 5), np.uint8))
    content = bytearray(path.read_bytes())
    at = tiff_entry(path, "ImageWidth")
    content[at + 2 : at + 8] = b"\3\0\2\0\0\0"  # two short integers
    path.write_bytes(content)
    assert "not a readable TIFF" in refusal(path)


def test_tiff_pages_in_a_circle(tmp_path):
    path = tmp_path / "p.tif"
    tifffile.imwrite(path, np.zeros((4, 5), np.uint8), metadata=None)
    content = bytearray(path.read_bytes())
    start = int.from_bytes(content[4:8], "little")
    end = start + 2 + 12 * int.from_bytes(content[start : start + 2], "little")
    content[end : end + 4] = content[4:8]
    path.write_bytes(content)
    assert "back to an earlier page" in refusal(path)


def test_the_headers_of_very_many_frames_are_read_once(tmp_path, write_dicom, monkeypatch):
    """And their geometry, which is the same, is not compared number by number: it took a minute."""
    write_dicom(tmp_path / "many.dcm", np.zeros((1, 1), np.uint8), NumberOfFrames=131072, PixelSpacing=[1, 1])
    read, compared = [], []
    frame, subtract = dicom_header._frame, np.subtract
    monkeypatch.setattr(dicom_header, "_frame", lambda *a: read.append(1) or frame(*a))
    monkeypatch.setattr(np, "subtract", lambda *a: compared.append(1) or subtract(*a))
    (scan,), _ = find_scans([tmp_path])
    assert len(scan.slices) == 131072
    assert len(read) == 1
    assert not compared


def test_bytes_in_place_of_a_uid_are_not_quoted(tmp_path, write_dicom):
    write_dicom(tmp_path / "a.dcm", np.zeros((2, 2), np.uint8), SOPClassUID=UID("Doe^Jane"), Rows=None)
    (skipped,) = find_scans([tmp_path])[1]
    assert "unknown kind of object" in skipped.reason
    assert "Doe" not in skipped.reason


def test_modality_table_for_values_of_32_bits(tmp_path, write_dicom, sequence):
    table = sequence(LUTDescriptor=[4, 0, 16], LUTData=bytes(8), ModalityLUTType="US")
    table[0]["LUTDescriptor"].VR, table[0]["LUTData"].VR = "US", "OW"
    write_dicom(
        tmp_path / "a.dcm",
        np.zeros((2, 2), np.uint32),
        Modality="MR",
        PhotometricInterpretation="MONOCHROME1",
        ModalityLUTSequence=table,
        VOILUTSequence=table,
    )
    assert "modality table" in refusal(tmp_path / "a.dcm")


def test_voi_table_of_zeros_in_no_bits(tmp_path, write_dicom, sequence):
    table = sequence(LUTDescriptor=[4, 0, 0], LUTData=bytes(8))
    table[0]["LUTDescriptor"].VR, table[0]["LUTData"].VR = "US", "OW"
    write_dicom(tmp_path / "a.dcm", np.zeros((2, 2), np.uint8), Modality="MR", VOILUTSequence=table)
    (scan,), _ = find_scans([tmp_path])
    np.testing.assert_array_equal(scan.table(np.arange(4)), 0)


def test_modality_table_that_is_no_table(tmp_path, write_dicom, sequence):
    write_dicom(
        tmp_path / "a.dcm",
        np.zeros((2, 2), np.uint8),
        Modality="MR",
        PhotometricInterpretation="MONOCHROME1",
        ModalityLUTSequence=sequence(RescaleType="US"),
        WindowCenter=1,
        WindowWidth=2,
    )
    assert "modality table cannot be read" in refusal(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    "grid", [(1 << 62, 2, 2), (2, 2, 1 << 62), (1 << 31, 1 << 31, 1 << 31), (4, 20000, 20000), (1 << 20, 4, 1)]
)
def test_grids_over_the_limits_in_any_plane(tmp_path, grid):
    content = bytearray(nib.Nifti2Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_bytes())
    content[24:48] = np.array(grid, "<i8").tobytes()
    content[400:496] = np.eye(4)[[1, 2, 0]].astype("<f8").tobytes()  # slices along the first axis
    (tmp_path / "v.nii").write_bytes(content)
    assert "over the limit" in refusal(tmp_path / "v.nii")


def test_frames_that_decoders_need_much_memory_for(tmp_path, write_dicom):
    write_dicom(tmp_path / "a.dcm", np.zeros((2, 2), np.uint8), Rows=20000, Columns=20000)
    assert "over the limit" in refusal(tmp_path / "a.dcm")


def test_jpeg_without_a_number_of_rows(tmp_path):
    content = get_testdata_file("SC_rgb_jpeg_dcmtk.dcm", read=False)
    content = Path(content).read_bytes()
    at = content.index(b"\xff\xc0\x00\x11") + 5
    (tmp_path / "a.dcm").write_bytes(content[:at] + b"\0\0" + content[at + 2 :])
    assert "0 rows" in refusal(tmp_path / "a.dcm")
