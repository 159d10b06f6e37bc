"""Scans, results and readers that the tests of the DICOM writers share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from anomalyclip_med.data import find_scans
from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.data.slicing import Plane
from anomalyclip_med.inferers import ScanResult
from anomalyclip_med.transforms import LoadSliced
from anomalyclip_med.writers import dicom
from anomalyclip_med.writers.dicom import DicomOutput
from tests.data.conftest import phantom, sequence, write_dicom, write_series  # noqa: F401

SHA = "ab" * 32
PROVENANCE: dict[str, Any] = {
    "package": "anomalyclip_med",
    "version": "0.1.0",
    "trained": True,
    "notice": None,
    "model": {"method": "AnomalyCLIP", "clip_sha256": SHA, "prompts_sha256": "cd" * 32},
    "settings": {"window": "auto", "plane": "auto"},
}
MR = "1.2.840.10008.5.1.4.1.1.4"


def only_scan(folder: Path, plane: Plane = Plane.AUTO) -> DicomScan:
    (scan,), skipped = find_scans([folder], plane)
    assert not skipped
    return scan


def random_map(scan: DicomScan) -> np.ndarray:
    return np.random.default_rng(0).random(scan.shape, dtype=np.float32)


def write(
    scan: DicomScan,
    folder: Path,
    anomaly_map: np.ndarray | None = None,
    kinds: tuple[DicomOutput, ...] = tuple(DicomOutput),
    scores: np.ndarray | None = None,
    provenance: dict[str, Any] = PROVENANCE,
    **options: Any,
) -> list[Path]:
    """Write results into a new folder; the scores rise from slice to slice."""
    folder.mkdir(exist_ok=True)
    scores = np.linspace(0.1, 0.9, len(scan.slices)) if scores is None else scores
    result = ScanResult(scan, np.asarray(scores, dtype=np.float64))
    anomaly_map = random_map(scan) if anomaly_map is None else anomaly_map
    load = LoadSliced("image")
    return list(dicom.write_dicom(kinds, folder, result, anomaly_map, load, provenance, **options))


def _dcmqi(tool: str, path: Path, folder: Path) -> None:
    program = Path(sys.executable).with_name(tool)
    if not program.exists():
        pytest.skip(f"{tool} of the package dcmqi is not installed")
    folder.mkdir()
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def dcmqi_map(tmp_path: Path) -> Callable[[Path], sitk.Image]:
    """Reads a parametric map with dcmqi."""

    def read(path: Path) -> sitk.Image:
        folder = tmp_path / f"dcmqi_{path.stem}"
        _dcmqi("paramap2itkimage", path, folder)
        return sitk.ReadImage(str(folder / "pmap.nrrd"))

    return read


@pytest.fixture
def dcmqi_segment(tmp_path: Path) -> Callable[[Path], sitk.Image]:
    """Reads the one segment of a segmentation with dcmqi."""

    def read(path: Path) -> sitk.Image:
        folder = tmp_path / f"dcmqi_{path.stem}"
        _dcmqi("segimage2itkimage", path, folder)
        return sitk.ReadImage(str(folder / "1.nrrd"))

    return read


def dciodvfy_errors(path: Path) -> list[str]:
    """What dciodvfy finds wrong; skips where it is not installed."""
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy of Debian's dicom3tools is not installed")
    done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def voxel_position(image: sitk.Image, value: float) -> np.ndarray:
    """Where in the patient (LPS mm) the one voxel of this value lies."""
    values = sitk.GetArrayFromImage(image)
    (index,) = np.argwhere(np.isclose(values, value))
    return np.array(image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]))
