"""Scores a study in a process of its own, which may crash, hang or be killed without the service."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from anomalyclip_med.errors import AnomalyClipMedError
from anomalyclip_med.pacs import credentials
from anomalyclip_med.pacs.spool import Batch

SCORE = (sys.executable, "-m", "anomalyclip_med.cli", "score")

_POLL_SECONDS = 0.05
_NOT_WRITTEN = "dicom-not-written"


class ScoringError(AnomalyClipMedError):
    """A study could not be scored."""


class StoppedError(AnomalyClipMedError):
    """The service is being ended while a study is in hand."""


class Scorer:
    """Runs ``anomalyclip-med score`` on a study.

    Args:
        options: further options of ``score``, such as ``--clip``.
        dicom: kinds of DICOM objects to make, as ``score --dicom`` takes them.
        timeout: seconds after which a study is given up.
        command: what to run, before the folder of the study.
    """

    def __init__(
        self,
        options: Sequence[str] = (),
        dicom: str = "pm,sr",
        timeout: float = 3600,
        command: Sequence[str] = SCORE,
    ) -> None:
        self.options = ["--dicom", dicom, *options]
        self.timeout = timeout
        self.command = command

    def score(self, batch: Batch, stop: threading.Event) -> bool:
        """Fill the folder ``results`` of a study.

        Args:
            batch: the study.
            stop: ends the scoring when it is set.

        Returns:
            Whether all of the study was scored.

        Raises:
            ScoringError: the command failed, took too long, or made no DICOM object.
            StoppedError: `stop` was set.
        """
        output = batch.folder / "scoring"
        shutil.rmtree(output, ignore_errors=True)
        with batch.log.open("wb") as log:
            process = subprocess.Popen(
                [*self.command, str(batch.study), "-o", str(output), *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=credentials.environment(),
                start_new_session=True,  # Ctrl-C is for the service, and what it starts can be killed as a whole
            )
        try:
            self._wait(process, stop)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode not in (0, 1):  # 1: something of it could not be scored
            raise ScoringError(f"the scoring command ended with status {process.returncode}")
        if not any(output.rglob("*.dcm")):
            reasons = "".join(f"; {reason}" for reason in left_out(output))
            raise ScoringError(f"the scoring command made no DICOM object (status {process.returncode}){reasons}")
        output.rename(batch.results)
        return process.returncode == 0

    def _wait(self, process: subprocess.Popen[bytes], stop: threading.Event) -> None:
        deadline = time.monotonic() + self.timeout
        while process.poll() is None:
            if stop.wait(_POLL_SECONDS):
                raise StoppedError("stopped")
            if time.monotonic() > deadline:
                raise ScoringError(f"the scoring command took longer than {self.timeout:g} s and was ended")


def left_out(results: Path) -> list[str]:
    """Why objects that were asked for were not made: code and reason, which tell of no patient, each once."""
    try:
        studies = json.loads((results / "scores.json").read_text(encoding="utf-8"))["studies"]
        warnings = [text for study in studies for series in study["series"] for text in series["warnings"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    found = []
    for text in warnings:
        code, _, told = text.partition(": ")
        if code == _NOT_WRITTEN:
            subject, colon, _ = told.partition(": ")  # the file
            found.append(f"{code}: {told.replace(subject + colon, '')}")
    return list(dict.fromkeys(found))
