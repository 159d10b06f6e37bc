"""What `watch` has done already, in a file."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

from anomalyclip_med.data.naming import hash_uid
from anomalyclip_med.errors import ConfigurationError

_NEVER = -1


class WatchState:
    """The series that are done with, by hashed SeriesInstanceUID. Every change is on the disk when a method returns.

    Args:
        path: the file; made with the first change.

    Attributes:
        fresh: there was no file.

    Raises:
        ConfigurationError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fresh = not path.exists()
        self._content: dict[str, Any] = {"since": date.today().strftime("%Y%m%d"), "series": {}, "failures": {}}
        if self.fresh:
            return
        try:
            self._content |= json.loads(path.read_text())
        except (OSError, ValueError):
            raise ConfigurationError(f"{path}: cannot be read; remove it to start anew") from None

    @property
    def since(self) -> str:
        """The day of the first start, YYYYMMDD."""
        return str(self._content["since"])

    def is_done(self, series_uid: str, instances: int) -> bool:
        """Whether a series is done with: it was, with as many instances, or it is never to be scored."""
        return self._content["series"].get(hash_uid(series_uid)) in (instances, _NEVER)

    def done(self, series: dict[str, int]) -> None:
        """Note series and their numbers of instances."""
        self._content["series"] |= {hash_uid(uid): instances for uid, instances in series.items()}
        self._save()

    def never(self, series_uid: str) -> None:
        """Note a series that is not to be scored, whatever is added to it."""
        self.done({series_uid: _NEVER})

    def failed(self, study_uid: str) -> int:
        """Note that a study could not be retrieved; returns how often."""
        failures = self._content["failures"]
        failures[hash_uid(study_uid)] = failures.get(hash_uid(study_uid), 0) + 1
        self._save()
        return int(failures[hash_uid(study_uid)])

    def _save(self) -> None:
        aside = self.path.with_suffix(".partial")
        with aside.open("w") as file:
            json.dump(self._content, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)
