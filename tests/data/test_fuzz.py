"""A few hundred damaged files, in this process; tools/fuzz_readers.py makes as many as wanted, in a process apart."""

from __future__ import annotations

import resource

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture
def fuzzer(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "tools")
    import fuzz_readers

    return fuzz_readers


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_read_or_refused_by_name(fuzzer, tmp_path):
    seeds = fuzzer.seed_files(packages=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = []
    for number in range(300):
        case = fuzzer.mutated(seeds, 1, number)
        for name, content in case.files.items():
            (tmp_path / name).write_bytes(content)
        outcome = fuzzer.examine(tmp_path / case.name, case.format)
        assert not outcome.failed, (outcome, case.recipe)
        outcomes.append(outcome)
        for file in tmp_path.iterdir():
            file.unlink()
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("read") > 50
    assert kinds.count("refused") > 50
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5 << 20  # in KiB


def test_the_same_seed_makes_the_same_files(fuzzer):
    seeds = fuzzer.seed_files(packages=False)
    made = [[fuzzer.mutated(seeds, 3, n).files for n in range(30)] for _ in range(2)]
    assert made[0] == made[1]
