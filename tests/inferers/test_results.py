"""Aggregation: slices to series to study, with gaps."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.inferers import IncompleteRunError, RunResults, aggregate


@pytest.fixture
def results(tmp_path: Path) -> RunResults:
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4)), tmp_path / f"{name}.nii")
    return RunResults.of_paths(tmp_path)


def test_many_scores_make_one() -> None:
    assert aggregate([0.2, math.nan, 0.7]) == 0.7
    assert aggregate([0.2, math.nan, 0.7, 0.4], "top2") == pytest.approx(0.55)
    assert aggregate([0.2, 0.4], "top9") == pytest.approx(0.3)
    assert aggregate(np.arange(101) / 100, "p95") == pytest.approx(0.95)
    assert math.isnan(aggregate([math.nan]))
    assert math.isnan(aggregate([], "top3"))
    for wrong in ("mean", "top", "top0", "p101", "p", ""):
        with pytest.raises(ConfigurationError, match="aggregation="):
            aggregate([], wrong)


def test_items_are_all_slices_in_order(results: RunResults) -> None:
    assert [(i["scan"], i["slice"]) for i in results.items()] == [(s, k) for s in range(2) for k in range(6)]
    assert all(i["image"] is results.scans[i["scan"]].scan for i in results.items())


def test_top_slices_pass_over_what_was_not_scored(results: RunResults) -> None:
    result = results.scans[0]
    result.scores[:] = [0.1, np.nan, 0.9, 0.3, 0.9, np.nan]
    assert result.top_slices(3) == [2, 4, 3]
    assert result.top_slices(9) == [2, 4, 3, 0]
    assert result.score == 0.9


def test_failures_end_the_run_with_an_error(results: RunResults) -> None:
    for result in results.scans:
        result.scores[:] = 0.5
    results.raise_if_failed()
    results.scans[1].scores[4] = np.nan
    with pytest.raises(IncompleteRunError, match=r"1 slice\(s\) not scored.*the run was cut short"):
        results.raise_if_failed()
    results.fail_slice(1, 4, "b.nii: damaged")
    with pytest.raises(IncompleteRunError, match=r"1 slice\(s\) not scored.*b\.nii: damaged"):
        results.raise_if_failed()
    results.scans[1].scores[4] = 0.5
    results.scans[1].failures.clear()
    results.scans[0].write_failure = "a: disk full"
    with pytest.raises(IncompleteRunError, match=r"1 scan\(s\) not written.*disk full"):
        results.raise_if_failed()


def test_unreadable_files_make_a_run_incomplete_and_others_do_not(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 1), np.uint8), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "notes.txt").write_text("text")
    complete = RunResults.of_paths(tmp_path)
    complete.scans[0].scores[:] = 0.5
    complete.raise_if_failed()
    (tmp_path / "b.nii.gz").write_bytes(b"junk")
    incomplete = RunResults.of_paths(tmp_path)
    incomplete.scans[0].scores[:] = 0.5
    with pytest.raises(IncompleteRunError, match=r"1 file\(s\) could not be read.*b\.nii\.gz"):
        incomplete.raise_if_failed()
