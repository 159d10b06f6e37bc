"""What earlier runs into the same folder have finished, so that an interrupted run can go on."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from anomalyclip_med.data import Scan
from anomalyclip_med.data.discovery import RESULTS_LOG
from anomalyclip_med.errors import ConfigurationError

MAX_DEATHS = 3
"""Runs that may die over one study before it is left out: one that kills the process would do so for ever."""


class Manifest:
    """The log of a folder of results: a line when work on a study starts, and one with its results at the end.

    A line is in the file before the next study starts, so that killing the process loses the study in hand and nothing
    else; a line that was cut off by that counts as not written. A study is known by its key, a hash of the settings and
    of its files' names, sizes and times of change: when one of them changes, the study is scored again.

    Args:
        output_dir: folder of the results; the log is its ``manifest.jsonl``, made with the first study.
        settings: all that the results depend on besides the files, as plain values.

    Raises:
        ConfigurationError: the log cannot be read.
    """

    def __init__(self, output_dir: str | Path, settings: dict[str, Any]) -> None:
        self.folder = Path(output_dir).expanduser()
        self.path = self.folder / RESULTS_LOG
        self._settings = json.dumps(settings, sort_keys=True)
        self._finished: dict[str, dict[str, Any]] = {}
        self._deaths: dict[str, int] = {}
        self._writer: dict[str, str] = {}
        self._ends_in_newline = True
        self._in_hand: str | None = None
        if not self.path.exists():
            return
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise ConfigurationError(
                f"{self.path}: cannot be read ({error.strerror}); remove it to start anew"
            ) from None
        self._ends_in_newline = text.endswith("\n")
        for line in text.splitlines():
            self._replay(line)

    def _replay(self, line: str) -> None:
        try:
            event = json.loads(line)
            key, record = event["key"], event.get("record")
            # Whatever run has begun to write a scan's files: those of other runs are no longer there.
            for name in event.get("scans", ()):
                if self._writer.get(name, key) != key:
                    self._finished.pop(self._writer[name], None)
                self._writer[name] = key
        except (ValueError, TypeError, KeyError):
            return  # cut off
        self._deaths[key] = 0 if record else self._deaths.get(key, 0) + (-1 if event.get("stopped") else 1)
        if record and event.get("complete"):
            self._finished[key] = record

    def key(self, scans: Sequence[Scan]) -> str:
        """Key of the study that is made of these scans."""
        digest = hashlib.sha256(self._settings.encode())
        for scan in scans:
            digest.update(repr((scan.name, scan.shown, scan.shape, len(scan.slices))).encode())
            for file in sorted(scan.files):
                stat = file.stat()
                digest.update(repr((file.name, stat.st_size, stat.st_mtime_ns)).encode())
        return digest.hexdigest()[:32]

    def finished(self, key: str) -> dict[str, Any] | None:
        """The record of a study that an earlier run finished without a failure and whose files are all still there."""
        record = self._finished.get(key)
        outputs = [output for series in record["series"] for output in series["outputs"]] if record else []
        if record and all((self.folder / output).is_file() for output in [*outputs, *record.get("report", "").split()]):
            return record
        return None

    def replaces(self, key: str, scans: Sequence[Scan]) -> bool:
        """Whether the study's files will take the place of others, made with other settings or before a change."""
        return any(self._writer.get(scan.name, key) != key for scan in scans)

    def deadly(self, key: str) -> bool:
        """Whether runs have died over this study so often that it is left out."""
        return self._deaths.get(key, 0) >= MAX_DEATHS

    def start(self, key: str, scans: Sequence[Scan]) -> None:
        """Note that work on a study starts, and whose files it will write."""
        self._append({"key": key, "scans": [scan.name for scan in scans]})
        self._in_hand = key
        atexit.register(self._stop)  # does not run where the process is killed or crashes

    def end(self, key: str, record: dict[str, Any], complete: bool) -> None:
        """Note the results of a study whose files are all in place; without failures if ``complete``."""
        self._append({"key": key, "complete": complete, "record": record})
        self._in_hand = None
        atexit.unregister(self._stop)

    def _stop(self) -> None:
        """Note that the run ended in an orderly way, by an error or by the user: the study is not to blame."""
        with suppress(OSError):
            self._append({"key": self._in_hand, "stopped": True})

    def _append(self, event: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if self._ends_in_newline else "\n") + json.dumps(event, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._ends_in_newline = True
