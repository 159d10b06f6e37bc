"""Feeds the readers with damaged scans, and tells what is not one of the project's own errors.

Each input is searched for scans; of each scan the first, the middle and the last slice are read and the windows taken.
That happens in a process of its own with a limit on its memory, which goes on from input to input until one of them
ends it, or makes it take too long. Inputs that fail are kept with the recipe that made them. The same seed gives the
same inputs. Files of the folder that ANOMALYCLIP_MED_DATA names are damaged, too, if there is one.

Usage: python tools/fuzz_readers.py [--count 10000] [--seed 0] [--seconds-per-input 30] [--memory-mib 6144]
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from mutations import FORMATS, SENTINEL, Case, mutated, seed_files

from anomalyclip_med.data import Scan, find_scans
from anomalyclip_med.errors import AnomalyClipMedError
from anomalyclip_med.transforms import WindowRule, window_limits

_START_SECONDS = 120
"""What a new process may take to import everything."""


@dataclass
class Outcome:
    """What became of one input.

    Attributes:
        format: of the seed file.
        kind: "read", "read in part", "refused", "not a scan", or a kind of failure in capitals.
        detail: of a failure, where it happened.
        stderr: something was written to standard error.
        seconds: wall time.
        mebibytes: largest resident memory.
    """

    format: str
    kind: str
    detail: str = ""
    stderr: bool = False
    seconds: float = 0.0
    mebibytes: int = 0

    @property
    def failed(self) -> bool:
        """Whether the readers misbehaved."""
        return self.kind.isupper()


@dataclass
class Seen:
    """Collects what the readers said of one input."""

    texts: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    slices: int = 0
    errors: int = 0

    def error(self, error: AnomalyClipMedError) -> None:
        """Note one of the project's own errors."""
        self.errors += 1
        self.texts.append(str(error))

    def expect(self, right: bool, problem: str) -> None:
        """Note a result that is not as promised."""
        if not right:
            self.problems.append(("WRONG RESULT", problem))


def examine(path: Path, format: str) -> Outcome:
    """Read one file as a user of the package would, in this process."""
    seen = Seen()
    unreadable = False
    try:
        scans, skipped = find_scans([path])
        unreadable = any(s.unreadable for s in skipped)
        seen.texts += [s.reason for s in skipped]
        for scan in scans:
            _examine_scan(scan, seen)
    except AnomalyClipMedError as error:
        seen.error(error)
    except BaseException as error:
        where = [f for f in traceback.extract_tb(error.__traceback__) if "anomalyclip_med" in f.filename][-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return Outcome(format, "EXCEPTION", f"{type(error).__name__} at {place}: {str(error)[:200]}")
    if any("MemoryError" in text for text in seen.texts):
        seen.problems.append(("MEMORY", "an allocation failed"))
    if any(SENTINEL.lower() in text.lower() for text in seen.texts):
        seen.problems.append(("LEAK", next(t for t in seen.texts if SENTINEL.lower() in t.lower())))
    if seen.problems:
        return Outcome(format, *seen.problems[0])
    if seen.slices:
        return Outcome(format, "read in part" if seen.errors else "read")
    return Outcome(format, "refused" if unreadable or seen.errors else "not a scan")


def _examine_scan(scan: Scan, seen: Seen) -> None:
    count = len(scan.slices)
    volume = np.broadcast_to(np.float32(0), scan.shape)
    seen.expect(count > 0 and min(scan.shape) > 0, "an empty scan")
    seen.expect(bool(np.isfinite(scan.affine).all()), "an affine that is not finite")
    for index in sorted({0, count // 2, count - 1}):
        view = scan.slice_view(volume, index)
        position = scan.slices[index].position
        seen.expect(position is None or bool(np.isfinite(position)), "a position that is not finite")
        seen.expect(bool(np.isfinite(scan.slice_affine(index)).all()), "a slice's affine that is not finite")
        try:
            pixels = scan.read_slice(index)
        except AnomalyClipMedError as error:
            seen.error(error)
            continue
        seen.slices += 1
        seen.expect(
            pixels.shape == (*view.shape, 3) if scan.color else pixels.shape == view.shape, "pixels off the grid"
        )
        seen.expect(pixels.dtype == (np.uint8 if scan.color else np.float32), f"pixels of type {pixels.dtype}")
        seen.expect(bool(np.isfinite(pixels).all()), "pixels that are not finite")
    for rule in WindowRule:
        try:
            low, high = window_limits(scan, rule)
        except AnomalyClipMedError as error:
            seen.error(error)
            continue
        seen.expect(bool(np.isfinite([low, high]).all()) and low <= high, f"limits {low} to {high} of {rule}")
    if scan.table is not None:
        seen.expect(bool(np.isfinite(scan.table(np.zeros(3, np.float32))).all()), "a table that is not finite")
    scan.close()
    seen.texts += [scan.name, scan.modality, scan.study, scan.series, *scan.warnings]


def _work(pipe: Connection, memory: int, seed: int, seeds: dict[str, list[Case]], folder: Path) -> None:
    """Make and examine the inputs whose numbers come through the pipe."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory << 20, memory << 20))
    said = (folder / "said").open("wb+")
    os.dup2(said.fileno(), 1)
    os.dup2(said.fileno(), 2)
    pipe.send(None)
    while (number := pipe.recv()) is not None:
        case = mutated(seeds, seed, number)
        inputs = folder / "input"
        inputs.mkdir(exist_ok=True)
        for name, content in case.files.items():
            (inputs / name).write_bytes(content)
        os.truncate(said.fileno(), 0)
        said.seek(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        start = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            outcome = examine(inputs / case.name, case.format)
        outcome.seconds = time.monotonic() - start
        status = Path("/proc/self/status").read_text().split()
        outcome.mebibytes = int(status[status.index("VmHWM:") + 1]) >> 10
        sys.stdout.flush()
        sys.stderr.flush()
        text = (folder / "said").read_bytes()
        outcome.stderr = bool(text)
        if SENTINEL.encode().lower() in text.lower():
            outcome.kind, outcome.detail = "LEAK", "to standard output or error"
        for file in inputs.iterdir():
            file.unlink()
        pipe.send(outcome)


class Worker:
    """The process that reads, started again when an input ends it.

    Args:
        memory: MiB that it may allocate.
        seed: of the inputs.
        seeds: the files to damage.
        folder: an empty one for its inputs.
    """

    def __init__(self, memory: int, seed: int, seeds: dict[str, list[Case]], folder: Path) -> None:
        self._arguments = (memory, seed, seeds, folder)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_work, args=(end, *self._arguments), daemon=True)
        self._process.start()
        end.close()
        if not self._pipe.poll(_START_SECONDS):
            raise RuntimeError("the reading process does not start")
        self._pipe.recv()

    def run(self, number: int, format: str, seconds: float) -> Outcome:
        """Examine one input, for so many seconds at most."""
        self._pipe.send(number)
        try:
            if self._pipe.poll(seconds):
                outcome: Outcome = self._pipe.recv()
                return outcome
            outcome = Outcome(format, "HANG", f"more than {seconds} s")
        except EOFError:
            self._process.join()
            outcome = Outcome(format, "CRASH", f"exit code {self._process.exitcode}")
        self._process.kill()
        self._process.join()
        self._start()
        return outcome

    def stop(self) -> None:
        """Let the process end."""
        self._pipe.send(None)
        self._process.join()


def keep(folder: Path, number: int, seed: int, case: Case, outcome: Outcome) -> None:
    """Store an input that failed, with what made it and what came of it."""
    place = folder / f"{number:05d}_{outcome.kind.lower().replace(' ', '_')}"
    place.mkdir(parents=True, exist_ok=True)
    for name, content in case.files.items():
        (place / name).write_bytes(content)
    facts = {"seed": seed, "number": number, "recipe": case.recipe, "kind": outcome.kind, "detail": outcome.detail}
    (place / "recipe.json").write_text(json.dumps(facts, indent=1))


def table(outcomes: list[Outcome]) -> str:
    """Return the counts of formats and outcomes."""
    kinds = ["read", "read in part", "refused", "not a scan", *sorted({o.kind for o in outcomes if o.failed})]
    lines = [f"| format | inputs | {' | '.join(kinds)} |", f"|---|{'---|' * (len(kinds) + 1)}"]
    for format in (*FORMATS, "all"):
        counts = Counter(o.kind for o in outcomes if format in (o.format, "all"))
        lines.append(f"| {format} | {counts.total()} | {' | '.join(str(counts[k]) for k in kinds)} |")
    lines += [
        "",
        f"{sum(o.stderr for o in outcomes)} inputs made a library write to standard error; the slowest took "
        f"{max(o.seconds for o in outcomes):.1f} s; the largest memory was {max(o.mebibytes for o in outcomes)} MiB.",
    ]
    failures = Counter(f"{o.kind}: {o.detail}" for o in outcomes if o.failed)
    return "\n".join([*lines, *(f"- {count} x {failure}" for failure, count in failures.most_common())])


def main() -> int:
    """Run the inputs; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="inputs")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds-per-input", type=float, default=30)
    parser.add_argument("--memory-mib", type=int, default=6144, help="what the reading process may allocate")
    parser.add_argument("--failures", type=Path, default=Path("build/fuzz"), help="folder for inputs that fail")
    arguments = parser.parse_args()
    data = os.environ.get("ANOMALYCLIP_MED_DATA")
    logging.disable()
    warnings.simplefilter("ignore")  # of the libraries that do the damage
    seeds = seed_files(Path(data) if data else None)
    print("seed files:", ", ".join(f"{len(cases)} {format}" for format, cases in seeds.items()), flush=True)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(arguments.memory_mib, arguments.seed, seeds, Path(folder))
        for number in range(arguments.first, arguments.first + arguments.count):
            # Made here, too: the process may end before it can tell what it was given.
            case = mutated(seeds, arguments.seed, number)
            outcome = worker.run(number, case.format, arguments.seconds_per_input)
            if outcome.failed:
                keep(arguments.failures, number, arguments.seed, case, outcome)
                print(f"{number} {outcome.kind} {outcome.detail} {case.recipe}", flush=True)
            outcomes.append(outcome)
            if len(outcomes) % 500 == 0:
                print(f"{len(outcomes)} inputs, {sum(o.failed for o in outcomes)} failures", flush=True)
        worker.stop()
    print(table(outcomes))
    return int(any(o.failed for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
