"""What one run found: scores, failures and warnings of every scan."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomalyclip_med.data import Plane, Scan, SkippedFile, find_scans
from anomalyclip_med.errors import ConfigurationError, ScanError
from anomalyclip_med.inferers.aggregation import aggregate, check_aggregation
from anomalyclip_med.inferers.calibration import Calibration
from anomalyclip_med.inferers.manifest import MAX_DEATHS, Manifest

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
        empty: slices with next to nothing to see, which have score 0 for that reason.
        write_failure: why the scan's files could not be written, empty where they were.
        outputs: files written for this scan, relative to the folder of the results.
        aggregation: how slice scores make that of the series, see :func:`anomalyclip_med.inferers.aggregate`.
        calibration: what tells each score's percentile among normal ones, where there is one.
    """

    scan: Scan
    scores: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)
    empty: set[int] = field(default_factory=set)
    write_failure: str = ""
    outputs: list[str] = field(default_factory=list)
    aggregation: str = "max"
    calibration: Calibration | None = None

    @property
    def score(self) -> float:
        """Score of the series."""
        return aggregate(self.scores, self.aggregation)

    def top_slices(self, count: int) -> list[int]:
        """Numbers of the highest scored slices, highest first."""
        order = np.argsort(-self.scores, kind="stable")  # NaN sorts last
        return [int(i) for i in order[:count] if not np.isnan(self.scores[i])]

    def record(self) -> dict[str, Any]:
        """All of it as plain values, fit for JSON; None stands for a score that could not be made."""
        scan = self.scan
        record = {
            "series": scan.series,
            "scan": scan.name,
            "source": scan.shown,
            "format": scan.format,
            "modality": scan.modality,
            "shape": list(scan.shape),
            "affine": scan.affine.tolist(),
            "score": _finite(self.score),
            **({} if scan.region is None else {"region": list(scan.region)}),
            "warnings": list(scan.warnings),
            **({"write_failure": self.write_failure} if self.write_failure else {}),
            "outputs": self.outputs,
            "slices": [
                {
                    "slice": info.index,
                    "frame": info.frame,
                    "position_mm": info.position,
                    "instance": info.instance,
                    "instance_number": info.instance_number,
                    "score": _finite(value),
                    **({"empty": True} if info.index in self.empty else {}),
                    **({"failure": self.failures[info.index]} if info.index in self.failures else {}),
                }
                for info, value in zip(scan.slices, self.scores, strict=True)
            ],
        }
        if self.calibration:
            self.calibration.annotate_series(record)
        return record


class RunResults:
    """Everything a run has to say, filled while it goes on, study after study.

    Args:
        scans: scans of the run.
        skipped: files that belong to no scan.
        calibration: what tells each score's percentile among normal ones, where there is one.
        aggregation: how slice scores make that of a series; a study has that of its most abnormal series.

    Raises:
        ConfigurationError: there is no such aggregation.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        skipped: Sequence[SkippedFile],
        calibration: Calibration | None = None,
        aggregation: str = "max",
    ) -> None:
        rule = check_aggregation(aggregation)
        self.scans = [
            ScanResult(scan, np.full(len(scan.slices), np.nan), aggregation=rule, calibration=calibration)
            for scan in scans
        ]
        self.skipped = list(skipped)
        self.calibration = calibration
        self._manifest: Manifest | None = None
        self._studies: dict[str, list[int]] = {}
        for number, scan in enumerate(scans):
            self._studies.setdefault(scan.study, []).append(number)
        self._keys: dict[str, str] = {}
        self._records: dict[str, dict[str, Any]] = {}

    @classmethod
    def of_paths(
        cls,
        paths: str | Path | Sequence[str | Path],
        plane: str = "auto",
        exclude: str | Path | None = None,
        jobs: int = 1,
        show_names: bool = True,
        calibration: Calibration | None = None,
        aggregation: str = "max",
    ) -> RunResults:
        """Find the scans in files and folders.

        Args:
            paths: one or more files or folders.
            plane: see :class:`anomalyclip_med.data.Plane`.
            exclude: a folder that is not looked into, such as that of the results.
            jobs: processes that read DICOM headers.
            show_names: whether outputs may hold files' names and paths, or hashes stand for them.
            calibration: what tells each score's percentile among normal ones, where there is one.
            aggregation: how slice scores make that of a series.

        Raises:
            ScanError: a path does not exist, or there is no scan in any of them.
            ConfigurationError: the plane or the aggregation is unknown.
        """
        if plane not in set(Plane):
            raise ConfigurationError(f"plane={plane!r} is unknown: use {', '.join(Plane)}")
        # A folder named 2024 reaches a bundle as a number.
        listed = [str(p) for p in paths] if isinstance(paths, list | tuple) else [str(paths)]
        excluded = None if exclude is None else Path(exclude).expanduser()
        scans, skipped = find_scans([Path(p).expanduser() for p in listed], Plane(plane), excluded, jobs, show_names)
        if not scans:
            first = f", the first, {skipped[0].shown}, because: {skipped[0].reason}" if skipped else ""
            raise ScanError(
                f"no scan found in {', '.join(listed)}: {len(skipped)} file(s) skipped{first}. Give files or "
                "folders with DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF or BMP images"
            )
        return cls(scans, skipped, calibration, aggregation)

    def resume(self, manifest: Manifest) -> None:
        """Take over what earlier runs into the same folder have finished, and log what this one does.

        Finished studies are not scored again. A study over which runs have died repeatedly is left out, with that as
        the reason.
        """
        self._manifest = manifest
        replaced = 0
        for study in self._studies:
            results = self._of_study(study)
            key = self._keys[study] = manifest.key([r.scan for r in results])
            if record := manifest.finished(key):
                self._records[study] = record
                continue
            replaced += manifest.replaces(key, [r.scan for r in results])
            if manifest.deadly(key):
                reason = f"quarantined: {MAX_DEATHS} runs died over this study; remove {manifest.path} to try it again"
                for result in results:
                    result.failures = dict.fromkeys(range(len(result.scores)), reason)
                self._records[study] = self._record(study)
        if replaced:
            logger.warning(
                "%s: results of %d studies, made with other settings or before their files changed, are replaced",
                manifest.folder,
                replaced,
            )

    def items(self) -> list[dict[str, Any]]:
        """One entry per slice for a MONAI ``Dataset``: the scan under ``image``, its number, the slice's number.

        Study after study, without those that are known already.
        """
        return [
            {"image": self.scans[number].scan, "scan": number, "slice": info.index}
            for study, numbers in self._studies.items()
            if study not in self._records
            for number in numbers
            for info in self.scans[number].scan.slices
        ]

    def start_scan(self, scan: int) -> None:
        """Note that the first slice of a scan is there."""
        study = self.scans[scan].scan.study
        if self._manifest and scan == self._studies[study][0]:
            self._manifest.start(self._keys[study], [result.scan for result in self._of_study(study)])

    def end_scan(self, scan: int) -> dict[str, Any] | None:
        """Note that all files of a scan are written; returns the study's record with the last of its scans."""
        study = self.scans[scan].scan.study
        if scan != self._studies[study][-1]:
            return None
        record = self._records[study] = self._record(study)
        return record

    def end_study(self, record: dict[str, Any]) -> None:
        """Log that all files of a study are in place."""
        if self._manifest:
            complete = not (_unscored(record) or _unwritten(record))
            self._manifest.end(self._keys[record["study"]], record, complete=complete)

    def fail_slice(self, scan: int, index: int, reason: str) -> None:
        """Record that a slice could not be read; the run goes on."""
        result = self.scans[scan]
        result.failures[index] = result.scan.show(reason)
        logger.warning("slice %d of %s was not scored: %s", index, result.scan.name, result.failures[index])

    def studies(self) -> list[dict[str, Any]]:
        """Records of all studies, in the order of their first scans."""
        return [self._records.get(study) or self._record(study) for study in self._studies]

    def raise_if_failed(self) -> None:
        """End a run that lost anything with an error, after all else has been written.

        Raises:
            IncompleteRunError: says how much could not be read, scored or written, and the first reason.
        """
        unreadable = [f"{s.shown}: {s.reason}" for s in self.skipped if s.unreadable]
        unscored = [reason for study in self.studies() for reason in _unscored(study)]
        unwritten = [reason for study in self.studies() for reason in _unwritten(study)]
        if unreadable or unwritten or unscored:
            first = [*unreadable, *unscored, *unwritten][0]
            raise IncompleteRunError(
                f"{len(unreadable)} file(s) could not be read, {len(unscored)} slice(s) not scored, {len(unwritten)} "
                f"scan(s) not written; the first because: {first}. All else is written; scores.json lists every failure"
            )

    def _of_study(self, study: str) -> list[ScanResult]:
        return [self.scans[number] for number in self._studies[study]]

    def _record(self, study: str) -> dict[str, Any]:
        results = self._of_study(study)
        score = aggregate(r.score for r in results)
        record = {"study": study, "score": _finite(score), "series": [r.record() for r in results]}
        if self.calibration:
            self.calibration.annotate_study(record)
        return record


def _unscored(study: dict[str, Any]) -> list[str]:
    slices = [entry for series in study["series"] for entry in series["slices"]]
    return [entry.get("failure", "the run was cut short") for entry in slices if entry["score"] is None]


def _unwritten(study: dict[str, Any]) -> list[str]:
    return [series["write_failure"] for series in study["series"] if "write_failure" in series]


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
