"""What a run writes on request, and what it takes away again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from anomalyclip_med.cli import main

MODEL = ["--clip", "untrained", "--image-size", "70", "--top-slices", "1", "--device", "cpu", "--show-names"]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("CT_small.dcm", "examples_ybr_color.dcm"):
        shutil.copy(str(get_testdata_file(name)), folder)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 30), dtype=np.uint8)).save(folder / "photo.png")
    return folder


def score(scans: Path, *options: str) -> dict[str, dict]:
    """Score; returns the series' records by modality."""
    output = scans.parent / "out"
    assert main(["score", str(scans), "-o", str(output), *MODEL, *options]) == 0
    report = json.loads((output / "scores.json").read_text())
    return {series["modality"]: series | {"study": study} for study in report["studies"] for series in study["series"]}


def test_dicom_objects_are_made_of_dicom_scans(scans: Path) -> None:
    series = score(scans, "--dicom", "pm,seg,sc,sr", "--threshold", "0.5")
    kinds = {m: sorted(o.split("_", 2)[-1] for o in s["outputs"] if o.endswith(".dcm")) for m, s in series.items()}
    assert [kind.split("_")[-1] for kind in kinds["CT"]] == ["pm.dcm", "0000.dcm", "seg.dcm", "sr.dcm"]
    assert len(kinds["US"]) == 31  # a capture of each frame, and the report
    assert kinds[""] == []
    assert any(w.startswith("dicom-not-written: ") and "FrameOfReferenceUID" in w for w in series["US"]["warnings"])
    assert any(w.startswith("dicom-not-written: ") and "DICOM scans only" in w for w in series[""]["warnings"])

    source = dcmread(str(get_testdata_file("CT_small.dcm")))
    stored = next(o for o in series["CT"]["outputs"] if o.endswith("_pm.dcm"))
    parametric_map = dcmread(scans.parent / "out" / stored)
    assert parametric_map.StudyInstanceUID == source.StudyInstanceUID
    assert "UNTRAINED" in parametric_map.SeriesDescription
    volume = nib.load(scans.parent / "out" / stored.replace("_pm.dcm", "_map.nii.gz")).get_fdata(dtype=np.float32)
    frame = np.frombuffer(parametric_map.FloatPixelData, np.float32).reshape(128, 128)
    np.testing.assert_array_equal(frame, volume[:, :, 0].T)

    fewer = score(scans, "--dicom", "sr")
    assert [o for o in fewer["CT"]["outputs"] if o.endswith(".dcm")] == [stored.replace("_pm", "_sr")]
    assert len(list((scans.parent / "out").rglob("*.dcm"))) == 2  # those of the first run are gone


def test_pages_for_a_browser(scans: Path) -> None:
    series = score(scans, "--report")
    output = scans.parent / "out"
    index = (output / "index.html").read_text()
    for record in series.values():
        page = record["study"]["report"]
        assert page == f"reports/{record['study']['study']}.html"
        assert record["scan"] in (output / page).read_text()
        assert page in index
    (output / series["CT"]["study"]["report"]).unlink()
    assert score(scans, "--report")["CT"]["study"]["report"]
    assert (output / series["CT"]["study"]["report"]).is_file()  # its study was scored again


def test_percentiles_reach_every_output(scans: Path) -> None:
    normal = scans.parent / "normal"
    normal.mkdir()
    shutil.copy(scans / "CT_small.dcm", normal)
    calibration = str(scans.parent / "c.json")
    assert main(["score", str(normal), "-o", str(scans.parent / "n"), *MODEL]) == 0
    assert main(["calibrate", str(scans.parent / "n"), "-o", calibration]) == 0
    options = ("--calibration", calibration, "--dicom", "seg,sr", "--threshold", "p99", "--report")
    series = score(scans, *options)
    percentile = series["CT"]["percentile"]
    assert percentile in (0, 50, 100)  # of its own score, but for rounding in batches of another size
    assert series["CT"]["slices"][0]["percentile"] == series["CT"]["study"]["percentile"] == percentile
    assert "percentile" not in series["US"]
    assert any(w.startswith("not-calibrated: ") for w in series["US"]["warnings"])
    output = scans.parent / "out"
    by_kind = {o.rsplit("_", 1)[-1]: output / o for o in series["CT"]["outputs"]}
    assert json.loads(by_kind["map.json"].read_text())["percentile"] == percentile
    assert "percentile" in str(dcmread(by_kind["sr.dcm"])).lower()
    segmentation = dcmread(by_kind["seg.dcm"])
    assert segmentation.SegmentationType == "BINARY"
    share = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8)).mean()
    assert share <= 0.01
    assert "normals" in (output / series["CT"]["study"]["report"]).read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dicom", "pm,xx"], "unknown xx: use pm, seg, sc, sr"),
        (["--threshold", "p99"], "give a calibration"),
        (["--threshold", "2"], "give a number above 0 and below 1"),
        (["--threshold", "0.5"], "ask for it with dicom=seg"),
        (["--deidentify"], "name them with dicom="),
        (["--calibration", "absent.json"], "absent.json: no such file"),
        (["--aggregation", "mean"], "aggregation='mean' is unknown"),
    ],
)
def test_mistakes_are_told_before_the_work_begins(scans: Path, capsys, options: list[str], message: str) -> None:
    assert main(["score", str(scans), "-o", str(scans.parent / "out"), *MODEL, *options]) == 2
    assert message in capsys.readouterr().err


def test_results_that_another_run_has_overwritten_are_made_again(scans: Path) -> None:
    for name in ("examples_ybr_color.dcm", "photo.png"):
        (scans / name).unlink()
    hidden = ("--dicom", "pm", "--deidentify")
    first = score(scans, *hidden)["CT"]
    stored = scans.parent / "out" / next(o for o in first["outputs"] if o.endswith("_pm.dcm"))
    before = dcmread(stored)
    score(scans, "--dicom", "pm", "--window", "bone")
    assert dcmread(stored).PatientName != ""
    again = score(scans, *hidden)["CT"]
    assert again["score"] == pytest.approx(first["score"], abs=1e-6)
    assert dcmread(stored).PatientIdentityRemoved == "YES"
    assert dcmread(stored).SOPInstanceUID == before.SOPInstanceUID


def test_results_are_no_scans(scans: Path) -> None:
    """Neither in the folder of an earlier run below the scans, nor as an export that holds the captures."""
    (scans / "photo.png").unlink()
    nested = ["-o", str(scans / "results"), *MODEL, "--dicom", "sc"]
    assert main(["score", str(scans), *nested]) == 0
    capture = next((scans / "results").rglob("*_sc_*.dcm"))
    shutil.copy(capture, scans / "from_the_archive.dcm")
    assert set(score(scans)) == {"CT", "US"}
    skipped = json.loads((scans.parent / "out" / "scores.json").read_text())["skipped_files"]
    assert {Path(s["file"]).name: s["reason"] for s in skipped} == {
        "results": "results of an earlier run",
        "from_the_archive.dcm": "a result of this program",
    }


def test_pages_and_paths_of_an_earlier_run_do_not_stay(scans: Path) -> None:
    output = scans.parent / "out"
    page = output / score(scans, "--report")["CT"]["study"]["report"]
    score(scans, "--window", "bone")
    assert not page.exists()
    assert not (output / "index.html").exists()
    hidden = [option for option in MODEL if option != "--show-names"]
    assert main(["score", str(scans), "-o", str(output), *hidden]) == 0
    assert str(scans) not in (output / "scores.json").read_text()


def test_a_threshold_of_other_normals_makes_no_segmentation(scans: Path) -> None:
    normal = scans.parent / "normal"
    normal.mkdir()
    shutil.copy(str(get_testdata_file("MR_small.dcm")), normal)
    calibration = str(scans.parent / "c.json")
    assert main(["score", str(normal), "-o", str(scans.parent / "n"), *MODEL]) == 0
    assert main(["calibrate", str(scans.parent / "n"), "-o", calibration]) == 0
    series = score(scans, "--calibration", calibration, "--dicom", "seg,sr", "--threshold", "p99")["CT"]
    assert [o.rsplit("_", 1)[-1] for o in series["outputs"] if o.endswith(".dcm")] == ["sr.dcm"]
    assert any("the threshold is of normal MR" in w for w in series["warnings"])


def test_an_incomplete_series_has_an_incomplete_report(scans: Path) -> None:
    for name in ("CT_small.dcm", "photo.png"):
        (scans / name).unlink()
    whole = dcmread(str(get_testdata_file("CT_small.dcm")))
    for number in range(3):
        whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
        whole.ImagePositionPatient = [0, 0, 5 * number]
        whole.save_as(scans / f"{number}.dcm")
    cut = scans / "1.dcm"
    cut.write_bytes(cut.read_bytes()[:-20000])
    (scans / "examples_ybr_color.dcm").unlink()
    assert main(["score", str(scans), "-o", str(scans.parent / "out"), *MODEL, "--dicom", "sr"]) == 1
    report = dcmread(next((scans.parent / "out").rglob("*_sr.dcm")))
    assert report.CompletionFlag == "PARTIAL"
    assert report.CompletionFlagDescription == "1 of 3 slices could not be scored"


def test_scores_that_cannot_be_written_end_with_one_sentence(scans: Path, capsys) -> None:
    (scans.parent / "out" / "scores.csv").mkdir(parents=True)
    assert main(["score", str(scans), "-o", str(scans.parent / "out"), *MODEL]) == 2
    assert "the scores cannot be written" in capsys.readouterr().err.splitlines()[-1]


def test_the_end_of_a_run_tells_warnings_and_how_to_look_names_up(tmp_path: Path, capsys) -> None:
    gaps = np.diag([1.0, 1.0, 0.0, 1.0])
    gaps[2, 2] = -3
    nib.save(nib.Nifti1Image(np.full((6, 6, 2), 7, np.int16), gaps), tmp_path / "flat.nii")
    hashed = [option for option in MODEL if option != "--show-names"]
    assert main(["score", str(tmp_path / "flat.nii"), "-o", str(tmp_path / "out"), *hashed]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("nifti_" in line and "constant-values: all pixels have one value" in line for line in lines)
    assert "Names stand for files: 'anomalyclip-med names PATH' tells which" in lines
    assert main(["score", str(tmp_path / "flat.nii"), "-o", str(tmp_path / "named"), *MODEL]) == 0
    assert "Names stand" not in capsys.readouterr().out


def test_a_slice_has_the_number_that_viewers_show(scans: Path) -> None:
    series = score(scans)
    for modality, name in (("CT", "CT_small.dcm"), ("US", "examples_ybr_color.dcm")):
        number = int(dcmread(scans / name).InstanceNumber)
        assert {entry["instance_number"] for entry in series[modality]["slices"]} == {number}
    (photo,) = (entry for modality, entry in series.items() if modality not in ("CT", "US"))
    assert photo["slices"][0]["instance_number"] is None
