"""The page of one study: its slices under their maps, to be paged through in any browser."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from anomalyclip_med.errors import ScanError
from anomalyclip_med.inferers.results import ScanResult
from anomalyclip_med.transforms import LoadSliced
from anomalyclip_med.writers.places import edge_letters, slice_place
from anomalyclip_med.writers.report.pages import failure_reason, score_text, top_slice, write_page
from anomalyclip_med.writers.report.pictures import map_webp, scale_stops, slice_webp, thumbnail_webp
from anomalyclip_med.writers.report.plot import plot_paths

_FEW_SLICES = 40
"""Up to so many slices, a series is shown with twice as many pixels along each side."""
_SIDE = 512


@dataclass(frozen=True)
class _Stored:
    """Where a slice's pictures lie in the temporary file: bytes."""

    start: int
    image: int
    overlay: int


@dataclass
class _Series:
    """What a page shows of a series beside its record.

    Attributes:
        pixels: (rows, columns) of its slices.
        side: pixels of the longer side of their pictures at most.
        aspect: width of a slice over its height, in mm.
        edges: letters of the patient's directions at the top, right, bottom and left; empty where unknown.
        cropped: only a region of each slice was scored.
        step: every so many slices are stored.
        top: the highest scored slices, highest first.
        thumbnails: of these, each with its width and height.
        stored: all slices that are stored, in slice order.
    """

    pixels: tuple[int, int]
    side: int
    aspect: float
    edges: tuple[str, ...]
    cropped: bool
    step: int
    top: list[int]
    thumbnails: dict[int, tuple[bytes, int, int]] = field(default_factory=dict)
    stored: dict[int, _Stored] = field(default_factory=dict)


class StudyReport:
    """Collects the pictures of one study, scan after scan, and writes them as one self-contained page.

    What is collected lies in a temporary file, so that memory holds one slice at a time. A long series is thinned: the
    page has every n-th of its slices and the highest scored ones, and says so; the scores of all slices are plotted.

    Args:
        folder: where the temporary file lies.
        top_slices: how many of the highest scored slices of each scan are offered as thumbnails.
        max_slices: slices of a scan above which it is thinned.
        max_study_slices: slices of all scans together above which every scan is thinned further.
    """

    def __init__(self, folder: Path, top_slices: int = 6, max_slices: int = 600, max_study_slices: int = 1200) -> None:
        self.top_slices = top_slices
        self.max_slices = max_slices
        self.max_study_slices = max_study_slices
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the report
        self._series: dict[str, _Series] = {}

    def add_scan(self, result: ScanResult, anomaly_map: np.ndarray, load: LoadSliced) -> None:
        """Encode the slices of a scan, each under its map.

        A slice that cannot be read is left out, with a warning of the scan if it was scored.

        Args:
            result: the scan with its scores.
            anomaly_map: of the scan's shape, float32 in [0, 1], NaN where a slice was not scored.
            load: reads the slices as the model saw them.

        Raises:
            OSError: no room for the temporary file.
        """
        scan = result.scan
        total = len(scan.slices)
        # An empty slice scores 0 for being empty: nothing to jump to.
        top = [index for index in result.top_slices(self.top_slices) if index not in result.empty]
        step = -(-total // self.max_slices)
        rows, columns = scan.slice_view(anomaly_map, 0).shape
        down, right = np.linalg.norm(scan.slice_affine(0)[:3, :2], axis=0)
        series = self._series[scan.name] = _Series(
            pixels=(rows, columns),
            side=_SIDE if total > _FEW_SLICES else 2 * _SIDE,
            aspect=columns * right / (rows * down),
            edges=edge_letters(scan),
            cropped=scan.region is not None,
            step=step,
            top=top,
        )
        for index in thinned(range(total), top, step):
            if np.isnan(result.scores[index]):
                continue
            try:
                image = load.read(scan, index).numpy()
            except ScanError as error:  # it could be read a moment ago
                scan.warnings.append(scan.show(f"report-missing: slice {index}: {error}"))
                continue
            values = scan.slice_view(anomaly_map, index)
            self._store(
                series, index, slice_webp(image, series.side), b"" if index in result.empty else map_webp(values)
            )
            if index in top:
                series.thumbnails[index] = thumbnail_webp(image, values, series.aspect)

    def write(self, path: Path, record: dict[str, Any], provenance: dict[str, Any], index: str | None = None) -> None:
        """Write the page; nothing can be added afterwards.

        Args:
            path: of the page.
            record: the study's, as `RunResults.studies` gives it. It and its series may have a ``percentile`` among
                the user's normals, 0 to 100.
            provenance: see :func:`anomalyclip_med.inferers.provenance`.
            index: path of the run's index relative to this page, for a link back.
        """
        with self._file:
            shown = self._shown()
            series = [
                _content(number, entry, self._series.get(entry["scan"]), shown.get(entry["scan"], []))
                for number, entry in enumerate(record["series"])
            ]
            write_page(
                path,
                "study.html",
                "viewer.js",
                provenance,
                index=quote(index) if index else None,
                study=record,
                series=series,
                scale=scale_stops(),
                encoded_slices=self._encoded_slices(record, shown),
            )

    def _store(self, series: _Series, index: int, image: bytes, overlay: bytes) -> None:
        start = self._file.tell()
        self._file.write(image + overlay)
        series.stored[index] = _Stored(start, len(image), len(overlay))

    def _shown(self) -> dict[str, list[int]]:
        """The slices of each scan that the page has room for; makes `step` that of the page."""
        longest = max((len(series.stored) for series in self._series.values()), default=0)
        for step in count(1):
            shown = {name: thinned(list(s.stored), s.thumbnails, step) for name, s in self._series.items()}
            if step >= longest or sum(map(len, shown.values())) <= self.max_study_slices:
                break
        for series in self._series.values():
            series.step *= step
        return shown

    def _encoded_slices(self, record: dict[str, Any], shown: dict[str, list[int]]) -> Iterator[tuple[str, Markup]]:
        """Identifier and encoded pictures of each slice, read when the page gets to them."""
        for number, entry in enumerate(record["series"]):
            for index in shown.get(entry["scan"], []):
                stored = self._series[entry["scan"]].stored[index]
                self._file.seek(stored.start)
                parts = (self._file.read(stored.image), self._file.read(stored.overlay))
                # Letters, digits, "+", "/" and "=" need no escaping.
                encoded = " ".join(base64.b64encode(part).decode() for part in parts)
                yield f"slice-{number}-{index}", Markup(encoded)


def thinned(slices: Sequence[int], always: Collection[int], step: int) -> list[int]:
    """Every `step`-th of some slices, and those that must not be missed, in rising order."""
    return sorted({*slices[::step], *always})


def _content(number: int, record: dict[str, Any], series: _Series | None, shown: list[int]) -> dict[str, Any]:
    """What the template and the script need of one series; without its pictures where there are none."""
    slices = record["slices"]
    # A slice that was not scored has no picture, but its reason can be read.
    unscored = [entry["slice"] for entry in slices if entry["score"] is None]
    return {
        "number": number,
        "record": record,
        "pictures": series,
        "shown": shown,
        "plot": plot_paths([entry["score"] for entry in slices], [entry.get("empty", False) for entry in slices]),
        "scored": len(slices) - len(unscored),
        "data": {
            "start": top_slice(record) or 0,
            "held": sorted({*shown, *unscored}) if shown else [],
            "scores": [score_text(entry["score"]) for entry in slices],
            "places": [slice_place(e["frame"], e["position_mm"], e["instance_number"]) for e in slices],
            "notes": {entry["slice"]: note for entry in slices if (note := _note(entry))},
        },
    }


def _note(entry: dict[str, Any]) -> str:
    if entry["score"] is None:
        return failure_reason(entry)
    return "empty: next to nothing to see" if "empty" in entry else ""
