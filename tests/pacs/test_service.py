"""What becomes of a study whose scoring or delivery goes wrong."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from anomalyclip_med.pacs import credentials
from anomalyclip_med.pacs.scoring import Scorer, ScoringError, StoppedError
from anomalyclip_med.pacs.service import DeliveryError, Service, UnreachableError
from anomalyclip_med.pacs.spool import Batch, Spool

from .conftest import wait_for

# The study is a shell script that may do anything to the scorer; $OUT is the folder for the results.
SCORER = ("sh", "-c", 'OUT="$2"; echo "$@"; . "$0"/*.dcm')
GOOD = 'mkdir "$OUT"; echo "$@" > "$OUT/a.dcm"'


class Destination:
    def __init__(self) -> None:
        self.objects: list[str] = []
        self.error: Exception | None = None

    def deliver(self, objects: Sequence[Path]) -> None:
        if self.error:
            raise self.error
        self.objects += [path.read_text() for path in objects]


class Receiving(Destination):
    def deliver(self, objects: Sequence[Path]) -> None:
        self.objects += [path.name for path in objects]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as spool:
        yield spool


def study(spool: Spool, script: str) -> Batch:
    path = spool.incoming / "a.dcm"
    path.write_text(script)
    spool.add(path, script, "1")
    spool.close(script)
    return spool.ready()[-1]


def service(spool: Spool, timeout: float = 60) -> tuple[Service, Destination]:
    destination = Destination()
    return Service(spool, Scorer(timeout=timeout, command=SCORER), destination, retry_seconds=0), destination


def in_part(spool: Spool, part: str) -> list[Path]:
    return list((spool.folder / part).iterdir())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 2", "ended with status 2"),
        (f"{GOOD}; exit 2", "ended with status 2"),
        ("kill -9 $$", "ended with status -9"),
        ("exit 0", "made no DICOM object"),
        ("exit 1", "made no DICOM object"),
        ("sleep 100 & sleep 100", "took longer than 1 s"),
    ],
)
def test_a_study_that_fails_is_tried_twice_and_put_aside(
    spool: Spool, caplog: pytest.LogCaptureFixture, script: str, reason: str
) -> None:
    worker, destination = service(spool, timeout=1)
    study(spool, script)
    study(spool, GOOD)
    stop = threading.Event()
    while worker.process_next(stop):
        pass
    assert len(destination.objects) == 1
    assert caplog.text.count(reason) == 2
    (failed,) = in_part(spool, "failed")
    assert (failed / "study").is_dir()
    assert (failed / "score.log").read_text().startswith("-o ")
    assert in_part(spool, "ready") == []


def test_a_good_study_leaves_nothing(spool: Spool) -> None:
    worker, destination = service(spool)
    batch = study(spool, GOOD)
    assert worker.process(batch, threading.Event())
    assert destination.objects == [f"-o {batch.folder / 'scoring'} --dicom pm,sr\n"]
    assert [in_part(spool, part) for part in ("incoming", "ready", "failed", "kept")] == [[]] * 4


def test_results_of_a_part_are_delivered_with_a_warning(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    worker, destination = service(spool)
    assert worker.process(study(spool, f"{GOOD}; exit 1"), threading.Event())
    assert len(destination.objects) == 1
    assert "its results are incomplete" in caplog.text


def test_what_could_not_be_made_is_told(
    spool: Spool, caplog: pytest.LogCaptureFixture, make_study: Callable[..., list[Path]]
) -> None:
    for path in make_study(Modality="CR"):  # has no frame of reference
        spool.add(path, "1.2.3", path.name)
    spool.close("1.2.3")
    destination = Receiving()
    options = ["--clip", "untrained", "--image-size", "70", "--device", "cpu", "--show-names"]
    worker = Service(spool, Scorer(options), destination)
    (batch,) = spool.ready()
    assert worker.process(batch, threading.Event())
    assert [name.rpartition("_")[2] for name in destination.objects] == ["sr.dcm"]
    (told,) = [record.getMessage() for record in caplog.records if "dicom-not-written" in record.getMessage()]
    reason = "its map has no place in the patient, as it has no FrameOfReferenceUID"
    assert told.startswith(f"study {batch.name}: dicom-not-written: {reason}")
    assert "SECRET" not in caplog.text
    assert str(spool.folder) not in caplog.text


def test_a_study_of_which_no_object_can_be_made_tells_why(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    series = {"warnings": ["gantry-tilt: x", *["dicom-not-written: a, file 0: no place; a, file 0: no slice"] * 2]}
    content = json.dumps({"studies": [{"series": [series]}]})
    worker, _ = service(spool)
    worker.process(study(spool, f'mkdir "$OUT"; echo \'{content}\' > "$OUT/scores.json"'), threading.Event())
    assert "made no DICOM object (status 0); dicom-not-written: no place; no slice\n" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", '{"studies": [{}]}'])
def test_damaged_scores_do_not_keep_objects_back(spool: Spool, content: str) -> None:
    worker, destination = service(spool)
    assert worker.process(study(spool, f"{GOOD}; echo '{content}' > \"$OUT/scores.json\""), threading.Event())
    assert len(destination.objects) == 1


def test_results_wait_for_a_destination_that_is_down(
    spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker, destination = service(spool)
    batch = study(spool, f"echo >> {tmp_path}/runs; {GOOD}")
    destination.error = UnreachableError("PACS does not answer")
    for _ in range(5):
        assert not worker.process(batch, threading.Event())
    assert "PACS does not answer" in caplog.text
    destination.error = None
    assert worker.process(batch, threading.Event())
    assert len(destination.objects) == 1
    assert (tmp_path / "runs").read_text() == "\n"  # scored once


@pytest.mark.parametrize("error", [DeliveryError("refused"), ValueError("ZEBEDIAH")])
def test_results_that_are_refused_are_put_aside(
    spool: Spool, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    worker, destination = service(spool)
    study(spool, GOOD)
    destination.error = error
    for _ in range(3):
        worker.process_next(threading.Event())
    (failed,) = in_part(spool, "failed")
    assert (failed / "results" / "a.dcm").is_file()
    assert ("refused" if isinstance(error, DeliveryError) else "ValueError") in caplog.text
    assert "ZEBEDIAH" not in caplog.text


def test_a_study_over_which_the_machine_dies_is_not_tried_for_ever(spool: Spool) -> None:
    worker, destination = service(spool)
    batch = study(spool, GOOD)
    for _ in range(2):
        batch.count_attempt()  # and nothing after it
    assert not worker.process(batch, threading.Event())
    assert len(in_part(spool, "failed")) == 1
    assert destination.objects == []


def test_a_failed_study_waits_behind_the_others(spool: Spool) -> None:
    worker, destination = service(spool)
    worker.retry_seconds = 60
    study(spool, "exit 2")
    study(spool, GOOD)
    stop = threading.Event()
    assert [worker.process_next(stop) for _ in range(3)] == [True, True, False]
    assert len(destination.objects) == 1


def test_stopping_ends_the_scorer_with_its_children_and_blames_nobody(spool: Spool, tmp_path: Path) -> None:
    scorer = Scorer(command=SCORER)
    batch = study(
        spool, f"sleep 100 & echo $! > {tmp_path}/child.partial; mv {tmp_path}/child.partial {tmp_path}/child; wait"
    )
    stop = threading.Event()
    started = time.monotonic()

    def stop_when_started() -> None:
        while not (tmp_path / "child").exists():
            time.sleep(0.01)
        stop.set()

    threading.Thread(target=stop_when_started).start()
    with pytest.raises(StoppedError):
        scorer.score(batch, stop)
    assert time.monotonic() - started < 50
    stat = Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"

    def gone() -> bool:
        try:
            return stat.read_text().split()[2] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(gone, 20)  # the kernel ends it a moment after the signal
    worker, _ = service(spool)
    assert not worker.process(batch, stop)
    assert batch.attempts == 0


def test_the_scorer_does_not_get_the_credentials(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in credentials.SECRETS:
        monkeypatch.setenv(name, "secret")
    batch = study(spool, f"env; {GOOD}")
    assert Scorer(["--clip", "offline"], "seg", command=SCORER).score(batch, threading.Event())
    assert "secret" not in batch.log.read_text()
    assert os.environ[credentials.TOKEN] == "secret"
    assert (batch.results / "a.dcm").read_text().endswith("--dicom seg --clip offline\n")


def test_a_command_that_is_not_there(spool: Spool) -> None:
    with pytest.raises((ScoringError, OSError)):
        Scorer(command=("/no/such/command",)).score(study(spool, GOOD), threading.Event())
