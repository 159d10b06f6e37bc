"""The folder in which received studies wait for their scores.

```
incoming/                        being received, and what is being deleted; emptied at every start
open/STUDY/study/INSTANCE.dcm    a study of which more may come
ready/TIME_STUDY/                complete: study/, and results/ once it is scored
failed/TIME_STUDY/               given up, with score.log
kept/TIME_STUDY/                 finished, if finished studies are to be kept
```

STUDY and INSTANCE are hashes of UIDs, so that no name in it comes from the network. A study moves from folder to folder
by renaming, which either happens or does not.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from anomalyclip_med.data.naming import hash_uid
from anomalyclip_med.errors import AnomalyClipMedError, ConfigurationError

logger = logging.getLogger(__name__)

_BLOCK = 4096
"""What the smallest file takes on a disk: without it millions of tiny instances would count as nothing."""

_ABANDONED_SECONDS = 600
"""A file in `incoming` that has not grown for so long belongs to an association that is gone."""


class RefusedError(AnomalyClipMedError):
    """An instance is over a limit and was not taken."""


@dataclass(frozen=True)
class Limits:
    """Most bytes that the spool takes.

    Attributes:
        instance: of one instance.
        study: of all instances of a study together.
        spool: of everything in the spool. Failed and kept studies make room for new ones, the oldest first.
    """

    instance: int = 1 << 30
    study: int = 8 << 30
    spool: int = 32 << 30


@dataclass(frozen=True)
class Batch:
    """What has arrived of one study until nothing more came, on its way through the spool.

    Attributes:
        folder: its folder.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The study's hashed UID."""
        return self.folder.name.partition("_")[2]

    @property
    def study(self) -> Path:
        """Folder of the received instances."""
        return self.folder / "study"

    @property
    def results(self) -> Path:
        """Folder of the results; it exists only when they are complete."""
        return self.folder / "results"

    @property
    def log(self) -> Path:
        """What the scoring command has printed."""
        return self.folder / "score.log"

    @property
    def attempts(self) -> int:
        """How often work on it has started and was not called off."""
        try:
            return int((self.folder / "attempts").read_text())
        except (OSError, ValueError):
            return 0

    def count_attempt(self, step: int = 1) -> None:
        """Note an attempt, or with -1 that it is called off."""
        (self.folder / "attempts").write_text(str(self.attempts + step))


class Spool:
    """The spool folder, shared by the threads that receive and the one that scores.

    Args:
        folder: made if it does not exist, and from then on for its owner only.
        limits: most bytes of its parts.

    Raises:
        ConfigurationError: it cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self.limits = limits or Limits()
        self.incoming = folder / "incoming"
        self._lock = threading.RLock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._owner = (folder / "lock").open("w")
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.incoming, ignore_errors=True)
            for part in ("incoming", "open", "ready", "failed", "kept"):
                (folder / part).mkdir(mode=0o700, exist_ok=True)
        except BlockingIOError:
            raise ConfigurationError(f"{folder}: in use by another service, give this one its own --spool") from None
        except OSError as error:
            raise ConfigurationError(f"{folder}: cannot be used as spool ({error.strerror})") from None
        self._sizes = {batch: _size(batch) for part in ("open", "ready", "failed", "kept") for batch in self._in(part)}
        self._last_arrival = {study.name: time.monotonic() for study in self._in("open")}
        self._dropped: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let another process use the folder."""
        self._owner.close()

    def add(self, path: Path, study_uid: str, instance_uid: str) -> None:
        """Take a file into its study.

        A study that goes over a limit is dropped as a whole, and the rest of it is refused until nothing more of it
        arrives: scores of a part of it would look like scores of all of it.

        Args:
            path: the file, in `incoming`, from where it is moved away.
            study_uid: StudyInstanceUID.
            instance_uid: SOPInstanceUID; an instance that is there already is replaced.

        Raises:
            RefusedError: the file, its study or the spool would be over its limit.
            OSError: the disk is full.
        """
        key, size = hash_uid(study_uid), max(path.stat().st_size, _BLOCK)
        with self._lock:
            if key in self._dropped:
                self._dropped[key] = time.monotonic()
                raise RefusedError(f"study {key}: an instance of it was refused before, send all of it again later")
            if size > self.limits.instance:
                raise RefusedError(f"study {key}: an instance of {_mib(size)} is over the limit of an instance")
            folder = self.folder / "open" / key
            if self._sizes.get(folder, 0) + size > self.limits.study:
                self._drop(key)
                raise RefusedError(f"study {key}: over the limit of {_mib(self.limits.study)} of a study, dropped")
            if not self._make_room(size):
                self._drop(key)
                raise RefusedError(f"study {key}: the spool of {_mib(self.limits.spool)} is full, dropped")
            (folder / "study").mkdir(mode=0o700, parents=True, exist_ok=True)
            target = folder / "study" / f"{hash_uid(instance_uid)}.dcm"
            before = max(target.stat().st_size, _BLOCK) if target.exists() else 0
            path.replace(target)
            self._sizes[folder] = self._sizes.get(folder, 0) + size - before
            self._last_arrival[key] = time.monotonic()

    def touch(self, study_uid: str) -> None:
        """Note that more of a study is arriving."""
        key = hash_uid(study_uid)
        with self._lock:
            if key in self._last_arrival:
                self._last_arrival[key] = time.monotonic()

    def discard(self, study_uid: str) -> None:
        """Delete what has arrived of a study, and refuse no more of it."""
        with self._lock:
            self._delete(self.folder / "open" / hash_uid(study_uid))
            self._dropped.pop(hash_uid(study_uid), None)

    def close(self, study_uid: str) -> None:
        """Make what has arrived of a study ready."""
        with self._lock:
            self._close(hash_uid(study_uid))

    def close_quiet(self, seconds: float) -> None:
        """Make every study ready of which nothing has arrived for so long, and forget what was abandoned."""
        now = time.monotonic()
        with self._lock:
            for key, last in list(self._last_arrival.items()):
                if now - last >= seconds:
                    self._close(key)
            self._dropped = {key: last for key, last in self._dropped.items() if now - last < seconds}
        for file in self.incoming.glob("*.dcm"):
            with suppress(FileNotFoundError):  # moved into its study meanwhile
                if time.time() - file.stat().st_mtime > _ABANDONED_SECONDS:
                    file.unlink()

    def ready(self) -> list[Batch]:
        """The studies that wait for their scores or for their delivery, oldest first."""
        with self._lock:
            return [Batch(folder) for folder in self._in("ready")]

    def finish(self, batch: Batch, keep: bool = False) -> None:
        """Delete a study that is done with, or keep it while there is room."""
        with self._lock:
            if keep:
                self._move(batch.folder, self.folder / "kept" / batch.folder.name)
            else:
                self._delete(batch.folder)

    def fail(self, batch: Batch) -> None:
        """Put a study aside that is given up; it stays there while there is room."""
        with self._lock:
            self._move(batch.folder, self.folder / "failed" / batch.folder.name)

    def measure(self, batch: Batch) -> None:
        """Count a study's results too."""
        with self._lock:
            self._sizes[batch.folder] = _size(batch.folder)

    def _in(self, part: str) -> list[Path]:
        return sorted((self.folder / part).iterdir())

    def _close(self, key: str) -> None:
        folder = self.folder / "open" / key
        self._last_arrival.pop(key, None)
        count = len(list((folder / "study").glob("*.dcm")))
        if not count:
            self._delete(folder)
            return
        logger.info("study %s: %d instance(s), %s", key, count, _mib(self._sizes[folder]))
        self._move(folder, self.folder / "ready" / f"{time.time_ns()}_{key}")

    def _drop(self, key: str) -> None:
        self._delete(self.folder / "open" / key)
        self._dropped[key] = time.monotonic()

    def _make_room(self, size: int) -> bool:
        used = sum(self._sizes.values())
        for folder in sorted([*self._in("failed"), *self._in("kept")], key=lambda folder: folder.name):
            if used + size <= self.limits.spool:
                break
            used -= self._sizes[folder]
            self._delete(folder)
        return used + size <= self.limits.spool

    def _move(self, source: Path, target: Path) -> None:
        source.rename(target)
        self._sizes[target] = self._sizes.pop(source)

    def _delete(self, folder: Path) -> None:
        """Delete a folder such that, interrupted, no part of it looks like a study."""
        self._sizes.pop(folder, None)
        self._last_arrival.pop(folder.name, None)
        if folder.exists():
            aside = self.incoming / f"{time.time_ns()}_{folder.name}"
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(
        max(p.stat().st_size, _BLOCK) for top, _, names in os.walk(folder) for p in (Path(top, n) for n in names)
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
