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
    """A run has ended and written its results, but some slices could not be scored."""


@dataclass
class ScanResult:
    """Scores of one scan.

    Attributes:
        scan: the scan.
        scores: (slices,) float64 in [0, 1]; NaN where a slice has not been or could not be scored.
        failures: reason by slice number.
        outputs: files written for this scan.
    """

    scan: Scan
    scores: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)
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
        provenance: versions, weights and configuration, see :func:`anomalyclip_med.inferers.provenance`.
    """

    def __init__(self, scans: Sequence[Scan], skipped: Sequence[SkippedFile], provenance: dict[str, Any]) -> None:
        self.scans = [ScanResult(scan, np.full(len(scan.slices), np.nan)) for scan in scans]
        self.skipped = list(skipped)
        self.provenance = provenance

    @classmethod
    def of_paths(cls, paths: str | Path | Sequence[str | Path], plane: str, provenance: dict[str, Any]) -> RunResults:
        """Find the scans in files and folders.

        Raises:
            ScanError: a path does not exist, or there is no scan in any of them.
            ConfigurationError: the plane is unknown.
        """
        if plane not in set(Plane):
            raise ConfigurationError(f"plane={plane!r} is unknown: use {', '.join(Plane)}")
        listed = [paths] if isinstance(paths, str | Path) else list(paths)
        scans, skipped = find_scans([Path(p).expanduser() for p in listed], Plane(plane))
        if not scans:
            first = f", the first, {skipped[0].path}, because: {skipped[0].reason}" if skipped else ""
            raise ScanError(
                f"no scan found in {', '.join(map(str, listed))}: {len(skipped)} file(s) skipped{first}. Give files or "
                "folders with DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF or BMP images"
            )
        return cls(scans, skipped, provenance)

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

    @property
    def failed(self) -> bool:
        """Whether any slice could not be scored."""
        return any(result.failures for result in self.scans)

    def studies(self) -> dict[str, list[ScanResult]]:
        """Results by study, in the order of the scans."""
        by_study: dict[str, list[ScanResult]] = {}
        for result in self.scans:
            by_study.setdefault(result.scan.study, []).append(result)
        return by_study

    def raise_if_failed(self) -> None:
        """End a run that lost anything with an error, after all else has been written.

        Raises:
            IncompleteRunError: names how many slices of how many scans could not be scored.
        """
        if self.failed:
            lost = [r for r in self.scans if r.failures]
            slices = sum(len(r.failures) for r in lost)
            first = next(iter(lost[0].failures.values()))
            raise IncompleteRunError(
                f"{slices} slice(s) of {len(lost)} scan(s) could not be scored, the first because: {first}. "
                "All other results are written; scores.json lists every failure"
            )
