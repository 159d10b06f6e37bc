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
        (["--calibration", "absent.json"], "absent.json: no such file"),
        (["--aggregation", "mean"], "aggregation='mean' is unknown"),
    ],
)
def test_mistakes_are_told_before_the_work_begins(scans: Path, capsys, options: list[str], message: str) -> None:
    assert main(["score", str(scans), "-o", str(scans.parent / "out"), *MODEL, *options]) == 2
    assert message in capsys.readouterr().err
