"""Windows: names, rules and limits."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from anomalyclip_med.data import find_scans
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.transforms import CT_WINDOWS, LoadSliced, WindowRule, window_limits
from anomalyclip_med.transforms.windows import parse_windows


@pytest.mark.parametrize(
    ("window", "parsed"),
    [
        ("brain", "brain"),
        ("auto", WindowRule.AUTO),
        ("voi", WindowRule.VOI),
        ([50, 350], (50.0, 350.0)),
        ((-600, 1500), (-600.0, 1500.0)),
    ],
)
def test_parse(window, parsed) -> None:
    assert parse_windows(window) == (parsed,)


@pytest.mark.parametrize("window", ["brian", [40], [40, 0], [40, -80], ""])
def test_unknown_windows_are_refused(window) -> None:
    with pytest.raises(ConfigurationError, match="unknown: use auto, percentile, voi, brain"):
        parse_windows(window)


def test_three_windows_are_one_for_each_channel() -> None:
    assert parse_windows(["brain", [50, 350], "auto"]) == ("brain", (50.0, 350.0), WindowRule.AUTO)
    for windows in (["brain", "bone"], ["brain"] * 4):
        with pytest.raises(ConfigurationError, match="three, for red, green and blue"):
            parse_windows(windows)


def test_ct_goes_through_the_abdomen_window_and_can_use_its_own() -> None:
    (scan,), _ = find_scans([Path(str(get_testdata_file("CT_small.dcm")))])
    assert window_limits(scan, WindowRule.AUTO) == (-160, 240)
    assert window_limits(scan, parse_windows("brain")[0]) == (0, 80)
    assert CT_WINDOWS["abdomen"] == (40, 400)


def test_the_files_own_window() -> None:
    path = Path(str(get_testdata_file("MR_small.dcm")))
    header = pydicom.dcmread(path)
    (scan,), _ = find_scans([path])
    low, high = window_limits(scan, WindowRule.VOI)
    assert (low + high) / 2 == float(header.WindowCenter)
    assert high - low == float(header.WindowWidth)


def test_a_ct_window_leaves_other_modalities_alone(tmp_path: Path) -> None:
    """In a mixed folder, HU limits would turn an MR or a photograph white."""
    Image.fromarray(np.full((8, 8), 17, np.uint8)).save(tmp_path / "a.png")
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), 30, np.int16), np.eye(4)), tmp_path / "b.nii.gz")
    (picture, volume), _ = find_scans([tmp_path])
    (mr,), _ = find_scans([Path(str(get_testdata_file("MR_small.dcm")))])
    assert window_limits(picture, parse_windows("brain")[0]) == (0, 255)
    assert window_limits(mr, parse_windows("brain")[0]) == window_limits(mr, WindowRule.AUTO)
    assert window_limits(volume, parse_windows("brain")[0]) == (0, 80)  # a volume file may be CT
    assert window_limits(mr, (600.0, 1200.0)) == (0, 1200)  # numbers are taken at their word
    LoadSliced("image", window="brain").read(mr, 0)
    assert [w.split(":")[0] for w in mr.warnings] == ["window-not-applied"]


def test_a_constant_volume_is_said(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), 30, np.int16), np.eye(4)), tmp_path / "b.nii")
    (scan,), _ = find_scans([tmp_path])
    assert LoadSliced("image").read(scan, 0).max() == 0
    assert [w.split(":")[0] for w in scan.warnings] == ["constant-values"]


def test_pictures_are_taken_as_stored_and_volumes_by_percentile(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 17, np.uint8)).save(tmp_path / "a.png")
    rng = np.random.default_rng(0)
    values = rng.normal(1000, 100, (20, 20, 10)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "b.nii.gz")
    (picture, volume), _ = find_scans([tmp_path])
    assert window_limits(picture, WindowRule.AUTO) == (0, 255)
    assert window_limits(volume, WindowRule.AUTO) == pytest.approx(tuple(np.percentile(values, (0.5, 99.5))), rel=1e-6)


def test_percentiles_of_very_large_slices_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(100, 20, (200, 200, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii")
    monkeypatch.setattr("anomalyclip_med.transforms.windows._SAMPLED_VALUES", 20_000)
    taken = []
    percentile = np.percentile
    monkeypatch.setattr(np, "percentile", lambda v, q: taken.append(v.size) or percentile(v, q))
    (scan,), _ = find_scans([tmp_path])
    assert window_limits(scan, WindowRule.AUTO) == pytest.approx(tuple(percentile(values, (0.5, 99.5))), abs=3)
    assert 10_000 < taken[0] <= 20_000
