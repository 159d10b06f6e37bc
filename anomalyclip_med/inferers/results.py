"""What one run found: scores, failures and warnings of every scan, and where they come from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomalyclip_med.data import Plane, Scan, SkippedFile, find_scans
from anomalyclip_med.errors import ConfigurationError, ScanError
from anomalyclip_med.inferers.aggregation import highest_score

logger = logging.getLogger(__name__)


class IncompleteRunError(ScanError):
    """A run has ended and written its results, but lost some files, slices or outputs."""


@dataclass
class ScanResult:
    """Scores of one scan.

    Attributes:
        scan: the scan.
        scores: (slices,) float64 in [0, 1]; NaN where a slice has not been or could not be scored.
        failures: reason by slice number.
        write_failure: why the scan's files could not be written, empty where they were.
        outputs: files written for this scan.
    """

    scan: Scan
    scores: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)
    write_failure: str = ""
    outputs: list[Path] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Score of the series: that of its most abnormal slice."""
        return highest_score(self.scores)

    def top_slices(self, count: int) -> list[int]:
        """Numbers of the highest scored slices, highest first."""
        order = np.argsort(-self.scores, kind="stable")  # NaN sorts last
        return [int(i) for i in order[:count] if not np.isnan(self.scores[i])]


class RunResults:
    """Everything a run has to say, filled while it goes on.

    Args:
        scans: scans of the run.
        skipped: files that belong to no scan.
    """

    def __init__(self, scans: Sequence[Scan], skipped: Sequence[SkippedFile]) -> None:
        self.scans = [ScanResult(scan, np.full(len(scan.slices), np.nan)) for scan in scans]
        self.skipped = list(skipped)

    @classmethod
    def of_paths(
        cls, paths: str | Path | Sequence[str | Path], plane: str = "auto", exclude: str | Path | None = None
    ) -> RunResults:
        """Find the scans in files and folders.

        Args:
            paths: one or more files or folders.
            plane: see :class:`anomalyclip_med.data.Plane`.
            exclude: a folder that is not looked into, such as that of the results.

        Raises:
            ScanError: a path does not exist, or there is no scan in any of them.
            ConfigurationError: the plane is unknown.
        """
        if plane not in set(Plane):
            raise ConfigurationError(f"plane={plane!r} is unknown: use {', '.join(Plane)}")
        # A folder named 2024 reaches a bundle as a number.
        listed = [str(p) for p in paths] if isinstance(paths, list | tuple) else [str(paths)]
        excluded = None if exclude is None else Path(exclude).expanduser()
        scans, skipped = find_scans([Path(p).expanduser() for p in listed], Plane(plane), excluded)
        if not scans:
            first = f", the first, {skipped[0].path}, because: {skipped[0].reason}" if skipped else ""
            raise ScanError(
                f"no scan found in {', '.join(listed)}: {len(skipped)} file(s) skipped{first}. Give files or "
                "folders with DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF or BMP images"
            )
        return cls(scans, skipped)

    def items(self) -> list[dict[str, Any]]:
        """One entry per slice for a MONAI ``Dataset``: the scan under ``image``, its number, the slice's number."""
        return [
            {"image": result.scan, "scan": number, "slice": info.index}
            for number, result in enumerate(self.scans)
            for info in result.scan.slices
        ]

    def fail_slice(self, scan: int, index: int, reason: str) -> None:
        """Record that a slice could not be read; the run goes on."""
        self.scans[scan].failures[index] = reason
        logger.warning("slice %d of %s was not scored: %s", index, self.scans[scan].scan.name, reason)

    def studies(self) -> dict[str, list[ScanResult]]:
        """Results by study, in the order of the scans."""
        by_study: dict[str, list[ScanResult]] = {}
        for result in self.scans:
            by_study.setdefault(result.scan.study, []).append(result)
        return by_study

    def raise_if_failed(self) -> None:
        """End a run that lost anything with an error, after all else has been written.

        Raises:
            IncompleteRunError: says how much could not be read, scored or written, and the first reason.
        """
        unreadable = [f"{s.path}: {s.reason}" for s in self.skipped if s.unreadable]
        failures = [reason for result in self.scans for reason in result.failures.values()]
        unwritten = [result.write_failure for result in self.scans if result.write_failure]
        unscored = sum(int(np.isnan(result.scores).sum()) for result in self.scans)
        if unreadable or unwritten or unscored:
            first = next(iter([*unreadable, *failures, *unwritten]), "the run was cut short")
            raise IncompleteRunError(
                f"{len(unreadable)} file(s) could not be read, {unscored} slice(s) not scored, {len(unwritten)} "
                f"scan(s) not written; the first because: {first}. All else is written; scores.json lists every failure"
            )
