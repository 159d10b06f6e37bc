"""Names and IDs of patients, in headers, private elements and paths, appear nowhere in what a run leaves behind."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import dcmread
from pydicom.data import get_testdata_file

from anomalyclip_med.cli import main

SENTINEL = "ZEBEDIAH"


def hospital(folder: Path) -> Path:
    """A folder of sound and damaged files of every kind, all full of the sentinel."""
    patient = folder / f"{SENTINEL}^PATIENT" / f"ID_{SENTINEL}"
    patient.mkdir(parents=True)
    for name in ("CT_small.dcm", "MR_small.dcm", "examples_palette.dcm"):
        dataset = dcmread(str(get_testdata_file(name)))
        for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDescription", "SeriesDescription"):
            setattr(dataset, keyword, SENTINEL)
        dataset.ReferringPhysicianName = dataset.InstitutionName = dataset.ProtocolName = SENTINEL
        block = dataset.private_block(0x0099, SENTINEL, create=True)
        block.add_new(1, "LO", SENTINEL)
        dataset.save_as(patient / f"{SENTINEL}_{name}")
    whole = (patient / f"{SENTINEL}_CT_small.dcm").read_bytes()
    (patient / f"{SENTINEL}_cut.dcm").write_bytes(whole[: len(whole) // 2].replace(b"1.3.6.1", b"1.3.6.2"))
    shutil.copy(patient / f"{SENTINEL}_MR_small.dcm", patient / f"{SENTINEL}_copy.dcm")
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4))
    image.header["descrip"] = image.header["db_name"] = SENTINEL.encode()
    nib.save(image, patient / f"{SENTINEL}.nii.gz")
    (patient / f"{SENTINEL}_bad.nii.gz").write_bytes(SENTINEL.encode())
    (patient / f"{SENTINEL}.mhd").write_text(
        f"ObjectType = Image\nNDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = ../{SENTINEL}.raw\n"
    )
    text = PngInfo()
    text.add_text("Comment", SENTINEL)
    Image.fromarray(np.eye(9, dtype=np.uint8) * 200).save(patient / f"{SENTINEL}.png", pnginfo=text)
    (patient / f"{SENTINEL}_bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + SENTINEL.encode())
    (patient / f"{SENTINEL}.txt").write_text(SENTINEL)
    return folder


def leaks(folder: Path) -> list[str]:
    """Files whose name or content, unpacked, has the sentinel."""
    found = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        unpacked = gzip.decompress(content) if path.name.endswith(".gz") else b""
        if SENTINEL in path.name or SENTINEL.encode() in content + unpacked:
            found.append(str(path))
    return found


def test_nothing_of_the_patient_is_left_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source, output = hospital(tmp_path / "in"), tmp_path / "out"
    caplog.set_level(logging.DEBUG)
    options = ["--clip", "untrained", "--image-size", "70", "--report", "--dicom", "pm,seg,sc,sr", "--deidentify"]
    assert main(["score", str(source), "-o", str(output), *options]) == 1
    assert leaks(output) == []
    assert len(list(output.glob("*/*_sr.dcm"))) == 3
    printed = capfd.readouterr()
    assert SENTINEL not in printed.out + printed.err + caplog.text
    report = json.loads((output / "scores.json").read_text())
    assert sum(s["score"] is not None for s in report["studies"]) == 5  # CT, MR, ultrasound, NIfTI, PNG
    assert len(report["studies"]) == 6  # and the damaged CT
    assert len(report["skipped_files"]) >= 4

    assert main(["names", str(source)]) == 0
    listed = {tuple(line.split()[::2]) for line in capfd.readouterr().out.splitlines() if line.count(" ")}
    (nifti,) = [s["study"] for s in report["studies"] if s["study"].startswith("nifti")]
    assert (nifti, str(source / f"{SENTINEL}^PATIENT" / f"ID_{SENTINEL}" / f"{SENTINEL}.nii.gz")) in listed


def test_nor_by_the_bundle_as_typed(tmp_path: Path) -> None:
    hospital(tmp_path / "in")
    config = Path(__file__).resolve().parents[1] / "bundles" / "anomalyclip_zero_shot" / "configs" / "inference.json"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config), "--dataset_dir", "in"),
            *("--output_dir", "out", "--clip", "untrained", "--image_size", "70"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0  # some files are damaged; MONAI prints a traceback
    assert "IncompleteRunError" in run.stderr
    assert SENTINEL not in run.stdout + run.stderr
    assert leaks(tmp_path / "out") == []


def test_names_are_shown_on_request(tmp_path: Path) -> None:
    Image.fromarray(np.eye(9, dtype=np.uint8) * 200).save(tmp_path / "left_knee.png")
    command = ["score", str(tmp_path), "-o", str(tmp_path / "out"), "--clip", "untrained", "--image-size", "70"]
    assert main([*command, "--show-names"]) == 0
    assert (tmp_path / "out" / "left_knee" / "left_knee_map.nii.gz").is_file()
