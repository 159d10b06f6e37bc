"""What is found in folders, what is skipped and why, and how scans are called."""

from __future__ import annotations

import hashlib
import logging
import threading
import traceback
import warnings
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from anomalyclip_med.data import budget, find_scans
from anomalyclip_med.data.naming import file_name, hash_uid, unique_names
from anomalyclip_med.data.reading import reading
from anomalyclip_med.errors import ScanError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 3)).save(path)


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(ScanError, match="no such file"):
        find_scans([tmp_path / "absent"])


def test_every_file_is_a_scan_or_skipped_with_a_reason(tmp_path, write_series):
    write_series(tmp_path / "ct")
    picture(tmp_path / "b" / "1.png")
    (tmp_path / "b" / "LICENSE").write_text("free")
    (tmp_path / "b" / "broken.png").write_bytes(b"not a png")
    (tmp_path / "b" / "empty.nii").touch()
    (tmp_path / "b" / "labels.csv").write_text("id,label")
    (tmp_path / ".hidden").write_text("x")
    sr = Path(get_testdata_file("test-SR.dcm"))
    (tmp_path / "ct" / "report.dcm").write_bytes(sr.read_bytes())
    scans, skipped = find_scans([tmp_path])
    assert [s.format for s in scans] == ["image", "dicom"]
    reasons = {s.path.name: s.reason for s in skipped}
    assert reasons.keys() == {"LICENSE", "broken.png", "empty.nii", "labels.csv", ".hidden", "report.dcm"}
    assert reasons["LICENSE"] == "not an image"
    assert "no image pixels (Comprehensive SR Storage)" in reasons["report.dcm"]
    assert "empty" in reasons["empty.nii"]
    assert find_scans([tmp_path])[1] == skipped


def test_dicom_is_told_by_content(tmp_path, write_dicom):
    write_dicom(tmp_path / "picture.png", np.zeros((2, 2), np.uint16))
    (scan,), _ = find_scans([tmp_path])
    assert scan.format == "dicom"
    assert scan.source == tmp_path / "picture.png"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_dicom_without_preamble(tmp_path, write_dicom, syntax):
    pixels = np.arange(4, dtype=np.uint16).reshape(2, 2)
    write_dicom(tmp_path / "bare.dcm", pixels, TransferSyntaxUID=syntax)
    data = (tmp_path / "bare.dcm").read_bytes()
    group_length = int.from_bytes(data[140:144], "little")
    (tmp_path / "bare.dcm").write_bytes(data[144 + group_length :])
    (scan,), _ = find_scans([tmp_path])
    np.testing.assert_array_equal(scan.read_slice(0), pixels)


def test_deflated_dicom_within_and_over_the_limit(tmp_path, write_dicom, monkeypatch):
    pixels = np.arange(4, dtype=np.uint16).reshape(2, 2)
    write_dicom(tmp_path / "a.dcm", pixels, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    (scan,), _ = find_scans([tmp_path])
    np.testing.assert_array_equal(scan.read_slice(0), pixels)
    monkeypatch.setattr(budget, "MAX_INFLATED_BYTES", 100)
    scans, (skipped,) = find_scans([tmp_path])
    assert scans == []
    assert "inflates to more than" in skipped.reason


def test_headers_that_ask_for_too_much_are_skipped(tmp_path, write_dicom):
    write_dicom(tmp_path / "a.dcm", np.zeros((2, 2), np.uint16), Rows=60000, Columns=60000)
    write_dicom(tmp_path / "b.dcm", np.zeros((2, 2), np.uint16), NumberOfFrames=2_000_000_000)
    scans, skipped = find_scans([tmp_path])
    assert scans == []
    assert all("over the limit" in s.reason for s in skipped)


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    picture(tmp_path / "outside" / "1.png")
    picture(tmp_path / "in" / "2.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "outside" / "1.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    scans, skipped = find_scans([tmp_path / "in"])
    assert [s.name for s in scans] == ["2"]
    assert sorted(s.path.name for s in skipped) == ["link.png", "loop"]


def test_a_file_given_twice_is_one_scan(tmp_path):
    picture(tmp_path / "1.png")
    scans, skipped = find_scans([tmp_path / "1.png", tmp_path])
    assert [s.name for s in scans] == ["1"]
    assert skipped == []


def test_the_folder_of_the_results_is_left_out(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "results" / "a" / "a_map.png")
    scans, (skipped,) = find_scans([tmp_path], exclude=tmp_path / "results")
    assert [s.name for s in scans] == ["a"]
    assert (skipped.path.name, skipped.reason) == ("results", "the folder of the results")


def test_damaged_files_are_told_from_files_that_are_no_scans(tmp_path, write_series):
    picture(tmp_path / "good.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "junk.nii.gz").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "empty").write_bytes(b"")
    _, skipped = find_scans([tmp_path])
    assert {s.path.name: s.unreadable for s in skipped} == {
        "empty.png": True,
        "junk.nii.gz": True,
        "notes.txt": False,
        "empty": False,
    }


def test_identifiers_of_odd_form_are_not_logged(tmp_path, write_dicom, caplog, capsys):
    path = tmp_path / "a.dcm"
    with warnings.catch_warnings(action="ignore"):
        write_dicom(path, np.zeros((4, 5), np.uint16), StudyInstanceUID="1.2.SENTINEL^PATIENT")
    caplog.clear()
    capsys.readouterr()  # a bundle that has run in this process prints what is logged
    with caplog.at_level("DEBUG"):
        scans, _ = find_scans([path])
        scans[0].read_slice(0)
    captured = capsys.readouterr()
    assert "SENTINEL" not in caplog.text + captured.out + captured.err


def test_names_come_from_paths_and_are_unique(tmp_path):
    for name in ("a/Y1.png", "a/Y1.jpg", "a b/ü.png", "c/d/1.png", "a/y2.png", "a/Y2.png"):
        picture(tmp_path / name)
    scans, _ = find_scans([tmp_path])
    names = {s.source.relative_to(tmp_path).as_posix(): s.name for s in scans}
    assert names["c/d/1.png"] == "c_d_1"
    assert names["a b/ü.png"] == "a_b_ü"
    assert (names["a/Y1.png"], names["a/Y1.jpg"]) == ("a_Y1_png", "a_Y1_jpg")
    assert len({n.casefold() for n in names.values()}) == len(names)
    assert all(s.study == s.series == s.name for s in scans)


def test_naming_helpers():
    assert file_name(PurePosixPath("x/scan.nii.gz")) == "x_scan"
    assert file_name(PurePosixPath("..weird.png")) == "weird"
    assert len(file_name(PurePosixPath("n" * 250 + ".png"))) < 200
    assert unique_names(["a", "a", "b"], ["", "", ".png"]) == ["a", "a_2", "b"]
    assert hash_uid("1.2.3") == hashlib.sha256(b"1.2.3").hexdigest()[:16]


class Panic(BaseException):
    """What pyo3 raises when Rust code panics."""


@pytest.mark.parametrize("error", [ValueError("SECRET^NAME"), MemoryError(), Panic()])
def test_foreign_errors_keep_their_type_and_not_their_text(tmp_path, error):
    with pytest.raises(ScanError, match=type(error).__name__) as caught, reading(tmp_path / "x", "is damaged"):
        raise error
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_an_interrupt_is_no_damaged_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), reading(tmp_path / "x", "is damaged"):
        raise KeyboardInterrupt


def test_a_thread_that_ends_reading_does_not_end_the_silence_of_another(tmp_path):
    logger = logging.getLogger("pydicom")
    before = (logger.level, warnings.filters)
    ended, other_is_in = threading.Event(), threading.Event()

    def other() -> None:
        with reading(tmp_path / "other", "is damaged"):
            other_is_in.set()
            ended.wait(60)
            assert not logger.isEnabledFor(logging.CRITICAL)

    thread = threading.Thread(target=other)
    with reading(tmp_path / "x", "is damaged"):
        thread.start()
        other_is_in.wait(60)
    assert not logger.isEnabledFor(logging.CRITICAL)
    assert warnings.filters[0][0] == "ignore"
    ended.set()
    thread.join()
    assert (logger.level, warnings.filters) == before
    assert logger.isEnabledFor(logging.CRITICAL)
