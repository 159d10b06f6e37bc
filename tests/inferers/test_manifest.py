"""Interrupted runs: what is kept, what is scored again, what is left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.inferers import IncompleteRunError, Manifest, RunResults

SETTINGS = {"window": "auto"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    output.mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(source / f"{name}.png")
    return source, output


def started(folders: tuple[Path, Path], settings: dict = SETTINGS) -> RunResults:
    results = RunResults.of_paths(folders[0])
    results.resume(Manifest(folders[1], settings))
    return results


def score(results: RunResults, folder: Path, number: int, value: float = 0.5) -> None:
    """What the writer does with a scan of one slice."""
    result = results.scans[number]
    results.start_scan(number)
    result.scores[0] = value
    (folder / f"{result.scan.name}.txt").write_text("map")
    result.outputs.append(f"{result.scan.name}.txt")
    if record := results.end_scan(number):
        results.end_study(record)


def pending(results: RunResults) -> list[str]:
    return [item["image"].name for item in results.items()]


def test_finished_studies_are_kept_and_the_rest_is_scored(folders: tuple[Path, Path]) -> None:
    score(started(folders), folders[1], 0, 0.25)
    again = started(folders)
    assert pending(again) == ["b"]
    score(again, folders[1], 1, 0.75)
    last = started(folders)
    assert pending(last) == []
    assert [(s["study"], s["score"]) for s in last.studies()] == [("a", 0.25), ("b", 0.75)]
    last.raise_if_failed()


def test_what_changed_is_scored_again(folders: tuple[Path, Path]) -> None:
    results = started(folders)
    score(results, folders[1], 0)
    score(results, folders[1], 1)
    assert pending(started(folders, {"window": "voi"})) == ["a", "b"]
    os.utime(folders[0] / "a.png", (1, 1))
    assert pending(started(folders)) == ["a"]
    (folders[1] / "b.txt").unlink()
    assert pending(started(folders)) == ["a", "b"]


def test_what_is_replaced_is_told(folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    score(started(folders), folders[1], 0)
    started(folders)
    assert not caplog.messages  # one is kept, the other new
    started(folders, {"window": "voi"})
    (message,) = caplog.messages
    assert "results of 1 studies, made with other settings" in message


def test_what_failed_is_scored_again(folders: tuple[Path, Path]) -> None:
    results = started(folders)
    score(results, folders[1], 0)
    results.fail_slice(1, 0, "damaged")
    score(results, folders[1], 1, np.nan)
    assert pending(started(folders)) == ["b"]


@pytest.mark.parametrize("kept", [1, 20, 60])
def test_a_line_that_was_cut_off_counts_as_not_written(folders: tuple[Path, Path], kept: int) -> None:
    score(started(folders), folders[1], 0)
    log = folders[1] / "manifest.jsonl"
    first, second = log.read_text().splitlines(keepends=True)
    log.write_text(first + second[:kept])
    again = started(folders)
    assert pending(again) == ["a", "b"]
    score(again, folders[1], 0)
    assert pending(started(folders)) == ["b"]


def test_a_study_that_kills_runs_is_left_out_after_the_third(folders: tuple[Path, Path]) -> None:
    for _ in range(3):
        results = started(folders)
        assert pending(results) == ["a", "b"]
        results.start_scan(0)  # and the process is killed
    results = started(folders)
    assert pending(results) == ["b"]
    score(results, folders[1], 1)
    with pytest.raises(IncompleteRunError, match=r"1 slice\(s\) not scored.*quarantined: 3 runs died.*manifest\.jsonl"):
        results.raise_if_failed()
    os.utime(folders[0] / "a.png", (1, 1))
    assert pending(started(folders)) == ["a"]


def test_a_death_counts_for_nothing_once_the_study_is_finished(folders: tuple[Path, Path]) -> None:
    started(folders).start_scan(0)
    score(started(folders), folders[1], 0)
    (folders[1] / "a.txt").unlink()
    started(folders).start_scan(0)
    assert pending(started(folders)) == ["a", "b"]


def test_an_orderly_end_is_no_death(folders: tuple[Path, Path]) -> None:
    code = (
        "import sys; from anomalyclip_med.inferers import Manifest, RunResults;"
        f"results = RunResults.of_paths({str(folders[0])!r});"
        f"results.resume(Manifest({str(folders[1])!r}, {SETTINGS}));"
        "results.start_scan(0); raise KeyboardInterrupt"
    )
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
    for _ in range(2):
        started(folders).start_scan(0)
    assert pending(started(folders)) == ["a", "b"]


def test_junk_in_the_log_is_passed_over(folders: tuple[Path, Path]) -> None:
    score(started(folders), folders[1], 0)
    log = folders[1] / "manifest.jsonl"
    log.write_bytes(b'\xff\xfe\n[]\n{"key": 3}\n"text"\n' + log.read_bytes())
    assert pending(started(folders)) == ["b"]
    log.unlink()
    log.mkdir()
    with pytest.raises(ConfigurationError, match="remove it to start anew"):
        started(folders)


def test_every_line_is_json(folders: tuple[Path, Path]) -> None:
    score(started(folders), folders[1], 0)
    events = [json.loads(line) for line in (folders[1] / "manifest.jsonl").read_text().splitlines()]
    assert [sorted(event) for event in events] == [["key", "scans"], ["complete", "key", "record"]]
