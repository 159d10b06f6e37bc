"""Scores as tables: ``scores.csv`` for a spreadsheet, ``scores.json`` with everything, a text table to read."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from tabulate import tabulate

from anomalyclip_med.inferers.aggregation import highest_score
from anomalyclip_med.inferers.results import RunResults, ScanResult

_COLUMNS = (
    "level",
    "study",
    "series",
    "scan",
    "source",
    "slice",
    "frame",
    "position_mm",
    "instance",
    "score",
    "weights",
)


def write_scores_csv(path: Path, results: RunResults, provenance: dict[str, Any]) -> None:
    """One row per slice, series and study; an empty score stands for a slice that could not be scored."""
    weights = _weights_label(provenance)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="")
        writer.writeheader()
        for study, series in results.studies().items():
            score = highest_score(r.score for r in series)
            writer.writerow({"level": "study", "study": study, "score": _number(score), "weights": weights})
            for result in series:
                scan = result.scan
                common = {
                    "study": study,
                    "series": scan.series,
                    "scan": scan.name,
                    "source": scan.source,
                    "weights": weights,
                }
                writer.writerow({"level": "series", "score": _number(result.score), **common})
                for info, value in zip(scan.slices, result.scores, strict=True):
                    row = {
                        "level": "slice",
                        "slice": info.index,
                        "frame": "" if info.frame is None else info.frame,
                        "position_mm": "" if info.position is None else f"{info.position:.3f}",
                        "instance": info.instance or "",
                        "score": _number(value),
                    }
                    writer.writerow(common | row)


def write_scores_json(path: Path, results: RunResults, provenance: dict[str, Any]) -> None:
    """Everything the run found, with its provenance; ``null`` stands for a score that could not be made."""
    content = {
        **provenance,
        "studies": [
            {
                "study": study,
                "score": _finite(highest_score(r.score for r in series)),
                "series": [_series(r, path.parent) for r in series],
            }
            for study, series in results.studies().items()
        ],
        "skipped_files": [
            {"file": str(s.path), "reason": s.reason, "unreadable": s.unreadable} for s in results.skipped
        ],
    }
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def scores_table(results: RunResults) -> str:
    """A table of all series, for a terminal."""
    rows = []
    for result in results.scans:
        top = result.top_slices(1)
        rows.append(
            (
                result.scan.name,
                result.scan.modality or result.scan.format,
                len(result.scan.slices),
                f"{result.score:.4f}" if top else "failed",
                top[0] if top else "",
                len(result.scan.warnings) + len(result.failures) + bool(result.write_failure) or "",
            )
        )
    headers = ("scan", "kind", "slices", "score", "top slice", "warnings")
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True)


def _series(result: ScanResult, folder: Path) -> dict[str, Any]:
    scan = result.scan
    return {
        "series": scan.series,
        "scan": scan.name,
        "source": str(scan.source),
        "format": scan.format,
        "modality": scan.modality,
        "shape": list(scan.shape),
        "affine": scan.affine.tolist(),
        "score": _finite(result.score),
        "warnings": scan.warnings,
        **({"write_failure": result.write_failure} if result.write_failure else {}),
        "outputs": [output.relative_to(folder).as_posix() for output in result.outputs],
        "slices": [
            {
                "slice": info.index,
                "frame": info.frame,
                "position_mm": info.position,
                "instance": info.instance,
                "score": _finite(value),
                **({"failure": result.failures[info.index]} if info.index in result.failures else {}),
            }
            for info, value in zip(scan.slices, result.scores, strict=True)
        ],
    }


def _weights_label(provenance: dict[str, Any]) -> str:
    model = provenance["model"]
    return f"{model['clip']} + {model['prompts']}" if provenance["trained"] else "UNTRAINED"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
