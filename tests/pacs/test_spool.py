"""What the spool takes, refuses, keeps and forgets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.pacs.spool import Batch, Limits, RefusedError, Spool

BLOCK = 4096


def put(spool: Spool, study: str, instance: str, size: int = BLOCK) -> None:
    path = spool.incoming / "new.dcm"
    path.write_bytes(b"x" * size)
    spool.add(path, study, instance)


def ready(spool: Spool, study: str, size: int = BLOCK) -> Batch:
    put(spool, study, "1", size)
    spool.close(study)
    return spool.ready()[-1]


def counts(spool: Spool) -> list[int]:
    return [len(list(batch.study.iterdir())) for batch in spool.ready()]


def test_studies_become_ready_when_they_are_quiet(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        for instance in ("1", "2", "2"):  # an instance that is sent again replaces itself
            put(spool, "1.2", instance)
        put(spool, "../../etc", "../passwd")
        spool.close_quiet(60)
        assert spool.ready() == []
        spool.close_quiet(0)
        assert counts(spool) == [2, 1]
        names = [path.name for path in tmp_path.rglob("*")]
        assert not any(".." in name or "passwd" in name for name in names)


def test_limits(tmp_path: Path) -> None:
    with Spool(tmp_path, Limits(instance=2 * BLOCK, study=3 * BLOCK, spool=5 * BLOCK)) as spool:
        with pytest.raises(RefusedError, match="limit of an instance"):
            put(spool, "a", "1", 2 * BLOCK + 1)
        put(spool, "a", "1", 2 * BLOCK)  # the study is not to blame
        with pytest.raises(RefusedError, match="of a study"):
            put(spool, "a", "2", 2 * BLOCK)
        with pytest.raises(RefusedError, match="send all of it again"):
            put(spool, "a", "3", 1)
        spool.close_quiet(0)
        assert counts(spool) == []  # no part of it is scored
        put(spool, "a", "3", 1)
        for instance in range(3):
            put(spool, "b", str(instance), 1)  # a byte counts as a block
        put(spool, "c", "1")
        with pytest.raises(RefusedError, match="is full"):
            put(spool, "c", "2")
        spool.close_quiet(0)
        assert sorted(counts(spool)) == [1, 3]


def test_failed_and_kept_studies_make_room_oldest_first(tmp_path: Path) -> None:
    with Spool(tmp_path, Limits(spool=3 * BLOCK)) as spool:
        first, second = ready(spool, "a"), ready(spool, "b")
        spool.fail(first)
        spool.finish(second, keep=True)
        ready(spool, "c")
        ready(spool, "d")
        assert list((tmp_path / "failed").iterdir()) == []
        assert len(list((tmp_path / "kept").iterdir())) == 1
        ready(spool, "e")
        with pytest.raises(RefusedError):
            put(spool, "f", "1")
        spool.finish(spool.ready()[0])
        put(spool, "g", "1")


def test_what_an_association_that_is_gone_has_left_is_deleted(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        old, new = spool.incoming / "old.dcm", spool.incoming / "new.dcm"
        for path in (old, new):
            path.touch()
        os.utime(old, (0, 0))
        spool.close_quiet(0)
        assert list(spool.incoming.iterdir()) == [new]


def test_results_count(tmp_path: Path) -> None:
    with Spool(tmp_path, Limits(spool=3 * BLOCK)) as spool:
        batch = ready(spool, "a")
        batch.results.mkdir()
        (batch.results / "map.nii.gz").write_bytes(b"x" * 2 * BLOCK)
        spool.measure(batch)
        with pytest.raises(RefusedError):
            put(spool, "b", "1")


def test_a_new_process_finds_everything_but_what_was_being_received(tmp_path: Path) -> None:
    with Spool(tmp_path, Limits(spool=4 * BLOCK)) as spool:
        batch = ready(spool, "a")
        batch.count_attempt()
        put(spool, "b", "1")
        (spool.incoming / "half.dcm").touch()
        with pytest.raises(ConfigurationError, match="in use by another service"):
            Spool(tmp_path)
    with Spool(tmp_path, Limits(spool=4 * BLOCK)) as spool:
        assert [b.attempts for b in spool.ready()] == [1]
        assert list(spool.incoming.iterdir()) == []
        put(spool, "b", "2")
        with pytest.raises(RefusedError):
            put(spool, "c", "1")
        spool.close_quiet(0)
        assert counts(spool) == [1, 2]


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used as spool"):
        Spool(tmp_path / "file" / "spool")
