"""A study from its configuration to its tables: what fails stays alone, what is killed goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from anomalyclip_med.studies import run as running
from anomalyclip_med.studies.cells import Workplace
from anomalyclip_med.studies.config import load_study
from anomalyclip_med.studies.plan import Evaluation, Plan, Training

PROFILE = {
    "clip": "untrained",
    "model": {"image_size": 70},
    "training": {"epochs": 2, "batch_size": 4},
    "seeds": [0, 1],
    "data": {"drawn": {"procedural": 8}, "mvtec": {"folder": "MVTec"}, "headct": {"folder": "HeadCT"}},
}
STUDY = {
    "name": "small",
    "title": "Small",
    "profile": "tiny",
    "variants": {"ours": {}, "CLIP": {"method": "clip"}, "broken": {"model": {"feature_layers": [99]}}},
    "learn_from": ["drawn"],
    "measure_on": ["mvtec", "headct"],
    "tables": [{"metrics": ["image_auroc", "pixel_auroc"]}],
    "sheets": 2,
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A study, its profile, and a few pictures as MVTec AD lays them out; HeadCT is not there."""
    rng = np.random.default_rng(0)
    for number in range(3):
        for kind in ("good", "broken_large"):
            picture = rng.integers(0, 80, (40, 40, 3), dtype=np.uint8)
            mask = np.zeros((40, 40), np.uint8)
            if kind != "good":
                mask[10:20, 8 * number : 8 * number + 16] = 255
                picture[mask > 0] = 220
            for content, path in (
                (picture, f"test/{kind}/{number:03d}.png"),
                (mask, f"ground_truth/{kind}/{number:03d}_mask.png"),
            ):
                if kind != "good" or "test" in path:
                    target = tmp_path / "data" / "MVTec" / "bottle" / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(content).save(target)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "tiny.yaml").write_text(yaml.safe_dump(PROFILE))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path


class OneThread(ThreadPoolExecutor):
    """In place of processes, whose start takes longer than such a study."""

    def __init__(self, jobs: int, context: Any, initializer: Any, initargs: Any) -> None:
        super().__init__(1)


def test_a_study(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(running, "ProcessPoolExecutor", OneThread)
    study = load_study(place / "small.yaml")
    out = place / "out"
    failures = running.run_study(study, place / "data", out, out / "features", "cpu")
    told = capsys.readouterr().out
    assert "headct: left out" in told
    assert "About" in told

    with (out / "results.csv").open(newline="") as file:
        results = list(csv.DictReader(file))
    failed = {(r["variant"], r["target"], int(r["seed"])): r["error"] for r in results if r["error"]}
    assert set(failed) == {
        *(("ours", "headct", seed) for seed in (0, 1)),
        ("CLIP", "headct", 0),
        *(("broken", target, seed) for seed in (0, 1) for target in ("mvtec", "headct")),
    }
    assert "what it starts from failed: feature_layers=[99] does not fit" in failed["broken", "mvtec", 0]
    assert len(failures) == 2 + 2 + 1 + 4

    # The same as two commands of the bundle: nothing is computed in another way.
    of_cell = [r for r in results if (r["variant"], r["target"], r["seed"]) == ("ours", "mvtec", "1")]
    record = json.loads((out / of_cell[0]["cell"] / "done.json").read_text())
    from anomalyclip_med.bundle import run_bundle

    run_bundle("anomalyclip_zero_shot", record["files"], output_dir=place / "again", **record["options"])
    again = json.loads((place / "again" / "metrics.json").read_text())
    means = {r["metric"]: r for r in of_cell if r["class_name"] == "mean"}
    assert {"image_auroc", "pixel_aupro"} <= means.keys()
    for metric, result in means.items():
        assert (float(result["value"]) if result["value"] else None) == again["mean"][metric]
        assert (result["images"], result["anomalous"]) == ("6", "3")

    report = (out / "report.md").read_text()
    assert "# Small" in report
    assert "sheet_mvtec.png" in report
    assert "HeadCT: no such folder" in report

    # Started again, only what failed is tried again.
    places = {p: p.stat().st_mtime_ns for p in out.glob("cells/*/done.json")}
    assert running.run_study(study, place / "data", out, out / "features", "cpu").keys() == failures.keys()
    assert "5 cells more are complete." in capsys.readouterr().out  # 2 trainings, 3 evaluations
    assert {p: p.stat().st_mtime_ns for p in out.glob("cells/*/done.json")} == places
    assert (out / "report.md").read_text() == report


def test_a_cell_whose_process_dies_twice_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that ran beside it are tried again and lost to nothing."""
    tried: list[str] = []

    class Dying:
        def __init__(self, *_: Any) -> None:
            self.broken = False

        def __enter__(self) -> Dying:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, _: Any, cell: Evaluation, workplace: Workplace) -> Future[str]:
            tried.append(cell.key)
            future: Future[str] = Future()
            if cell.key == "bad":
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result("")
            return future

    monkeypatch.setattr(running, "ProcessPoolExecutor", Dying)
    cells = [Evaluation(key, {}, "v", "none", "t", 0, None, 0) for key in ("a", "bad", "c")]
    plan = Plan({"d": Training("d", {}, {}, "gone", 0, None)}, cells)
    workplace = Workplace(tmp_path, tmp_path / "features", {}, {}, None, None)
    failures = running.run_cells(plan, workplace, 1, {"gone": "no such folder"})
    assert failures == {"d": "no such folder", "bad": "the process that ran it died: out of memory?"}
    assert sorted(tried) == ["a", "bad", "bad", "c"]


def test_what_ran_beside_a_process_that_died_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends all of its pool, each time: what ran beside it is tried again without it."""

    class Dying:
        def __init__(self, *_: Any) -> None:
            self.running: dict[str, Future[str]] = {}
            self.broken = False

        def __enter__(self) -> Dying:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def submit(self, _: Any, cell: Evaluation, workplace: Workplace) -> Future[str]:
            if self.broken:
                raise BrokenProcessPool
            self.running[cell.key] = Future()
            if cell.key == "bad":
                self.broken = True
                for future in self.running.values():
                    if not future.done():
                        future.set_exception(BrokenProcessPool())
            elif cell.key != "beside" or len(self.running) > 1:
                self.running[cell.key].set_result("")
            else:  # takes longer than what comes after it
                Timer(0.2, self._finish, [cell.key]).start()
            return self.running[cell.key]

        def _finish(self, key: str) -> None:
            if not self.running[key].done():
                self.running[key].set_result("")

    monkeypatch.setattr(running, "ProcessPoolExecutor", Dying)
    cells = [Evaluation(key, {}, "v", "none", "t", 0, None, 0) for key in ("beside", "bad", "c", "d")]
    workplace = Workplace(tmp_path, tmp_path / "features", {}, {}, None, None)
    failures = running.run_cells(Plan({}, cells), workplace, 3, {})
    assert failures == {"bad": "the process that ran it died: out of memory?"}


@pytest.mark.slow
def test_a_killed_study_goes_on_to_the_same_tables(place: Path) -> None:
    command = [sys.executable, "-m", "anomalyclip_med.cli", "study", "run", "small.yaml", "--data", "data"]
    command += ["--jobs", "2", "--device", "cpu"]

    def run(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, "-o", name], cwd=place, start_new_session=True, stdout=subprocess.DEVNULL)

    assert run("whole").wait() == 1  # some cells fail
    killed = 0
    for wanted in (1, 3):
        process = run("killed")
        while len(list((place / "killed").glob("cells/*/done.json"))) < wanted and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed
    assert run("killed").wait() == 1
    for name in ("results.csv", "summary.csv", "table_1.csv", "report.md"):
        expected, found = ((place / folder / name).read_text() for folder in ("whole", "killed"))
        if name == "results.csv":  # prompt files have metadata in any order, so their hashes differ
            expected, found = (
                "\n".join(",".join(row.split(",")[:12]) for row in t.splitlines()) for t in (expected, found)
            )
        assert found == expected, name
