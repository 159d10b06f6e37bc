"""Takes studies out of the spool, scores them and has the results delivered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from anomalyclip_med.errors import AnomalyClipMedError
from anomalyclip_med.pacs.scoring import Scorer, ScoringError, StoppedError, left_out
from anomalyclip_med.pacs.spool import Batch, Spool

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 2
"""How often a study is tried before it is put aside."""


class DeliveryError(AnomalyClipMedError):
    """The destination does not want an object."""


class UnreachableError(AnomalyClipMedError):
    """The destination cannot take anything at present."""


class Destination(Protocol):
    """Where results go."""

    def deliver(self, objects: Sequence[Path]) -> None:
        """Store DICOM files; storing them again does no harm.

        Raises:
            DeliveryError: one of them is refused for good.
            UnreachableError: it is worth trying again later.
        """


class Service:
    """The worker of `listen` and `watch`.

    A study that fails is tried once more after the others, then put aside. Results that cannot be delivered, because
    the destination is down, are tried again until it is up; they are not made again.

    Args:
        spool: where the studies come from.
        scorer: makes the results.
        destination: takes them.
        retry_seconds: how long a study rests after a failure.
        keep: studies are kept in the spool when they are finished.
    """

    def __init__(
        self, spool: Spool, scorer: Scorer, destination: Destination, retry_seconds: float = 60, keep: bool = False
    ) -> None:
        self.spool = spool
        self.scorer = scorer
        self.destination = destination
        self.retry_seconds = retry_seconds
        self.keep = keep
        self._resting: dict[Path, float] = {}

    def process_next(self, stop: threading.Event) -> bool:
        """Process the oldest study that is not resting; returns whether there was one."""
        now = time.monotonic()
        for batch in self.spool.ready():
            if self._resting.get(batch.folder, now) <= now:
                self.process(batch, stop)
                return True
        return False

    def process(self, batch: Batch, stop: threading.Event) -> bool:
        """Score a study and deliver its results; returns whether it is done."""
        self._resting.pop(batch.folder, None)
        if batch.attempts >= MAX_ATTEMPTS:
            self._failed(batch, "the service or the machine died over it")
            return False
        started = time.monotonic()
        try:
            batch.count_attempt()  # first, so that a study over which the machine dies is not tried for ever
            complete = batch.results.exists() or self.scorer.score(batch, stop)
            self.spool.measure(batch)
            objects = sorted(batch.results.rglob("*.dcm"))
            reasons = left_out(batch.results)
            self.destination.deliver(objects)
        except (StoppedError, UnreachableError) as error:
            batch.count_attempt(-1)
            self._resting[batch.folder] = time.monotonic() + self.retry_seconds
            logger.warning("study %s stays in the spool: %s", batch.name, error)
            return False
        except (ScoringError, DeliveryError) as error:
            self._failed(batch, str(error))
            return False
        except Exception as error:  # one study must not end the service; the text might quote the study
            self._failed(batch, type(error).__name__)
            return False
        self.spool.finish(batch, self.keep)
        logger.info(
            "study %s: %d object(s) delivered after %.1f s", batch.name, len(objects), time.monotonic() - started
        )
        for reason in reasons:
            logger.warning("study %s: %s", batch.name, reason)
        if not complete:
            logger.warning("study %s: something of it could not be scored, its results are incomplete", batch.name)
        return True

    def _failed(self, batch: Batch, reason: str) -> None:
        if batch.attempts < MAX_ATTEMPTS:
            self._resting[batch.folder] = time.monotonic() + self.retry_seconds
            logger.error("study %s failed and will be tried again: %s", batch.name, reason)
        else:
            self.spool.measure(batch)
            self.spool.fail(batch)
            logger.error("study %s failed: %s; see failed/%s in the spool", batch.name, reason, batch.folder.name)
