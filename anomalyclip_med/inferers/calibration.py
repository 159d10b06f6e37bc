"""What a score means beside the scores of normal studies from the same scanner."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from anomalyclip_med.errors import ConfigurationError

FORMAT = "anomalyclip_med.calibration"
LEVELS = ("study", "series", "slice")
_MOST_QUANTILES = 1001
_BINS = 1000
_BLOCK = 1 << 20
# A file may have been renamed, its SHA-256 tells whether it is the same; an exported detector scores as the one in it.
_NAMES = ("clip", "prompts", "file", "file_sha256")


@dataclass(frozen=True)
class Calibration:
    """Scores and map values of normal scans of one modality.

    Attributes:
        modality: DICOM Modality of the normal scans, "" for files that do not tell.
        model: the detector, as in the results' provenance.
        settings: what else the scores depend on, likewise.
        counts: number of normal studies, series and slices.
        scores: by level, ("study", "series", "slice"): the normal scores in rising order, or where they are more
            than 1,001 as many quantiles at equal steps.
        pixels: (1000,) int64: histogram of the values of all maps over [0, 1].
        sha256: of the file that it was read from.
    """

    modality: str
    model: dict[str, Any]
    settings: dict[str, Any]
    counts: dict[str, int]
    scores: dict[str, np.ndarray]
    pixels: np.ndarray
    sha256: str = ""

    def percentile(self, level: str, score: float) -> float:
        """Share of the normal scores below a score, in percent; of those equal to it, half.

        Args:
            level: "study", "series" or "slice".
            score: in [0, 1].
        """
        normal = self.scores[level]
        below, not_above = np.searchsorted(normal, score, "left"), np.searchsorted(normal, score, "right")
        return float(100 * (below + not_above) / 2 / len(normal))

    def pixel_value(self, percentile: float) -> float:
        """The map value that so many percent of the normal pixels do not exceed, rounded up to a thousandth."""
        reached = np.cumsum(self.pixels) >= self.pixels.sum() * min(percentile, 100) / 100 * (1 - 1e-12)
        return float((np.argmax(reached) + 1) / _BINS)

    def annotate_series(self, series: dict[str, Any]) -> None:
        """Add ``percentile`` to a series' record and its slices where they were scored.

        Of another modality than the normals, it gets a warning instead.
        """
        if series["modality"] == self.modality:
            self._annotate("series", series)
            for entry in series["slices"]:
                self._annotate("slice", entry)
        else:
            series["warnings"].append(
                f"not-calibrated: the normals are {self.modality or 'of no stated modality'}, this is "
                f"{series['modality'] or 'of no stated modality'}"
            )

    def annotate_study(self, study: dict[str, Any]) -> None:
        """Add ``percentile`` to a study's record, unless one of its series is of another modality."""
        if all(series["modality"] == self.modality for series in study["series"]):
            self._annotate("study", study)

    def _annotate(self, level: str, record: dict[str, Any]) -> None:
        if record["score"] is not None:
            record["percentile"] = round(self.percentile(level, record["score"]), 2)

    def check(self, provenance: dict[str, Any]) -> None:
        """See that a run makes scores that can be compared with the normal ones.

        Raises:
            ConfigurationError: names the settings that differ.
        """
        own, other = comparable(self.model, self.settings), comparable(provenance["model"], provenance["settings"])
        different = sorted(key for key in own.keys() | other.keys() if own.get(key) != other.get(key))
        if different:
            told = ", ".join(f"{key} {own.get(key)!r} there and {other.get(key)!r} here" for key in different)
            raise ConfigurationError(f"the calibration is of another configuration: {told}; score the normals likewise")

    def describe(self) -> dict[str, Any]:
        """What stands in a result's provenance."""
        return {"sha256": self.sha256, "modality": self.modality, "normals": self.counts}


def comparable(model: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that scores depend on, out of a provenance; as JSON keeps them."""
    relevant = {k: v for k, v in model.items() if k not in _NAMES}
    relevant |= {k: settings.get(k) for k in ("window", "empty_below", "plane", "aggregation")}
    return dict(json.loads(json.dumps(relevant)))


def calibrate(results: Iterable[str | Path]) -> Calibration:
    """Collect the scores and maps of normal studies.

    Args:
        results: folders that ``anomalyclip-med score`` has written for normal studies.

    Raises:
        ConfigurationError: there are no results, or they are of several modalities or configurations.

    Examples:
        >>> import json
        >>> import nibabel as nib
        >>> import numpy as np
        >>> from anomalyclip_med.inferers import calibrate
        >>> nib.save(nib.Nifti1Image(np.full((2, 2, 1), 0.25, np.float32), np.eye(4)), "a_map.nii.gz")
        >>> series = {"modality": "CT", "score": 0.4, "slices": [{"score": 0.4}], "outputs": ["a_map.nii.gz"]}
        >>> found = {"model": {}, "settings": {}, "studies": [{"score": 0.4, "series": [series]}]}
        >>> _ = Path("scores.json").write_text(json.dumps(found))  # as a run leaves them
        >>> normals = calibrate(["."])
        >>> normals.counts, normals.percentile("study", 0.5), normals.pixel_value(99)
        ({'study': 1, 'series': 1, 'slice': 1}, 100.0, 0.251)
    """
    scores: dict[str, list[float]] = {level: [] for level in LEVELS}
    pixels = np.zeros(_BINS, dtype=np.int64)
    modalities: set[str] = set()
    first: dict[str, Any] | None = None
    folders = [Path(folder).expanduser().resolve() for folder in results]
    if len(set(folders)) < len(folders):
        raise ConfigurationError("a folder is named twice: each normal study counts once")
    for folder in folders:
        report = _read_json(folder / "scores.json", "score the normal studies first: anomalyclip-med score ... -o OUT")
        first = first or report
        if comparable(report["model"], report["settings"]) != comparable(first["model"], first["settings"]):
            raise ConfigurationError(f"{folder}: scored with other weights or settings than the first folder")
        for study in report["studies"]:
            scores["study"].append(study["score"])
            for series in study["series"]:
                modalities.add(series["modality"])
                scores["series"].append(series["score"])
                scores["slice"] += [entry["score"] for entry in series["slices"]]
                for output in series["outputs"]:
                    if output.endswith("_map.nii.gz"):
                        pixels += _histogram(folder / output)
                        pixels[0] -= _outside(series)
    if first is None or not any(score is not None for score in scores["study"]):
        raise ConfigurationError("no scored study in these results: there is nothing to calibrate on")
    if not pixels.any():
        raise ConfigurationError("there are no scored maps in these results: there is nothing to calibrate on")
    if len(modalities) > 1:
        names = ", ".join(sorted(m or "none stated" for m in modalities))
        raise ConfigurationError(f"the normal scans are of several modalities ({names}): calibrate on one at a time")
    known = {level: np.sort([s for s in values if s is not None]) for level, values in scores.items()}
    return Calibration(
        modality=modalities.pop(),
        model=first["model"],
        settings=first["settings"],
        counts={level: len(values) for level, values in known.items()},
        scores={level: _quantiles(values) for level, values in known.items()},
        pixels=pixels,
    )


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write a calibration as JSON.

    Args:
        path: of the file.
        calibration: as `calibrate` gives it.

    Raises:
        ConfigurationError: the file cannot be written.

    Examples:
        >>> import numpy as np
        >>> from anomalyclip_med.inferers import Calibration, read_calibration, write_calibration
        >>> scores = dict.fromkeys(("study", "series", "slice"), np.array([0.2, 0.4]))
        >>> counts = {level: len(values) for level, values in scores.items()}
        >>> normals = Calibration("CT", {}, {}, counts, scores, pixels=np.ones(1000, np.int64))
        >>> write_calibration("normals.json", normals)
        >>> read_calibration("normals.json").percentile("series", 0.3)
        50.0
    """
    content = {
        "format": FORMAT,
        "modality": calibration.modality,
        "model": calibration.model,
        "settings": calibration.settings,
        "counts": calibration.counts,
        "scores": {level: values.tolist() for level, values in calibration.scores.items()},
        "pixels": calibration.pixels.tolist(),
    }
    try:
        Path(path).expanduser().write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from None


def read_calibration(path: str | Path | None) -> Calibration | None:
    """Read what `write_calibration` wrote.

    Args:
        path: of the file; None, as it stands in a configuration, for no calibration.

    Raises:
        ConfigurationError: the file is missing or damaged.

    Examples:
        >>> from anomalyclip_med.inferers import read_calibration
        >>> read_calibration("normals.json")
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: normals.json: no such file; make it with: anomalyclip-med calibrate
        >>> read_calibration(None) is None
        True
    """
    if path is None:
        return None
    path = Path(path).expanduser()
    content = _read_json(path, "make it with: anomalyclip-med calibrate")
    try:
        if content["format"] != FORMAT:
            raise ValueError
        calibration = Calibration(
            modality=str(content["modality"]),
            model=dict(content["model"]),
            settings=dict(content["settings"]),
            counts={level: int(content["counts"][level]) for level in LEVELS},
            scores={level: np.array(content["scores"][level], dtype=np.float64) for level in LEVELS},
            pixels=np.array(content["pixels"], dtype=np.int64),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        sound = calibration.pixels.shape == (_BINS,) and calibration.pixels.min() >= 0
        for values in calibration.scores.values():
            sound = sound and values.ndim == 1 and len(values) > 0 and bool((np.diff(values) >= 0).all())
        if not sound:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{path}: not a calibration, or a damaged one; make it anew") from None
    return calibration


class MapThreshold(NamedTuple):
    """The map value from which on a segmentation has pixels, and the modality that it holds for, None for all."""

    value: float
    modality: str | None = None


def map_threshold(threshold: float | str | None, calibration: Calibration | None) -> MapThreshold | None:
    """Read the threshold of a segmentation.

    Args:
        threshold: a value in (0, 1), or "p99.5" for the value that so many percent of the normal pixels do not exceed;
            None for none.
        calibration: what the second needs.

    Raises:
        ConfigurationError: it is neither, or there is no calibration.

    Examples:
        >>> import numpy as np
        >>> from anomalyclip_med.inferers import Calibration, map_threshold
        >>> map_threshold(0.5, None)
        MapThreshold(value=0.5, modality=None)
        >>> normals = Calibration("CT", {}, {}, {}, {}, pixels=np.ones(1000, np.int64))  # all values equally often
        >>> map_threshold("p90", normals)
        MapThreshold(value=0.9, modality='CT')
    """
    if threshold is None:
        return None
    text = str(threshold)
    try:
        value = float(text.removeprefix("p"))
    except ValueError:
        value = math.nan
    if not 0 < value < (100 if text.startswith("p") else 1):
        raise ConfigurationError(
            f"threshold={threshold!r}: give a number above 0 and below 1, or a percentile as p99.5"
        )
    if not text.startswith("p"):
        return MapThreshold(value)
    if calibration is None:
        raise ConfigurationError(f"threshold={threshold!r} is a percentile of normal pixels: give a calibration")
    return MapThreshold(calibration.pixel_value(value), calibration.modality)


def _quantiles(values: np.ndarray) -> np.ndarray:
    if len(values) <= _MOST_QUANTILES:
        return values
    return np.quantile(values, np.linspace(0, 1, _MOST_QUANTILES))


def _outside(series: dict[str, Any]) -> int:
    """Pixels of the scored slices outside of the scan's region, where the map is 0 because nothing was looked at."""
    if "region" not in series:
        return 0
    top, bottom, left, right = series["region"]
    scored = sum(entry["score"] is not None and not entry.get("empty") for entry in series["slices"])
    return int(scored * (math.prod(series["shape"][:2]) - (bottom - top) * (right - left)))


def _histogram(path: Path) -> np.ndarray:
    try:
        counts = np.zeros(_BINS, dtype=np.int64)
        # As `MapFile` stores it: float32 without scaling. Slices taken from nibabel would each unpack the file
        # from its beginning.
        stored = nib.load(path).dataobj
        left = math.prod(stored.shape)
        with gzip.open(path) as file:
            file.seek(int(stored.offset))
            while left:
                block = file.read(4 * min(left, _BLOCK))
                values = np.frombuffer(block, np.float32)
                if not len(values):
                    raise EOFError
                counts += np.histogram(values, bins=_BINS, range=(0, 1))[0]  # NaN is in no bin
                left -= len(values)
        return counts
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError):
        raise ConfigurationError(f"{path}: a map of these results is missing or damaged; score them again") from None


def _read_json(path: Path, advice: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file; {advice}") from None
    except (OSError, ValueError):
        raise ConfigurationError(f"{path}: cannot be read; {advice}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: cannot be read; {advice}")
    return content
