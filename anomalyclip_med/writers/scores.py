"""Scores as tables: ``scores.csv`` for a spreadsheet, ``scores.json`` with everything, a text table to read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from anomalyclip_med.inferers.results import RunResults, ScanResult
from anomalyclip_med.writers.files import replaced

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
    "instance_number",
    "score",
    "percentile",
    "weights",
)


_MOST_ROWS = 40
"""Of the table for a terminal."""


def write_scores_csv(path: Path, results: RunResults, provenance: dict[str, Any]) -> None:
    """One row per slice, series and study; an empty score stands for a slice that could not be scored.

    The percentile is that among the normals of a calibration, empty without one.

    Args:
        path: of the file, which is replaced when the new one is complete.
        results: of the run.
        provenance: see :func:`anomalyclip_med.inferers.provenance`.

    Examples:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from anomalyclip_med.inferers import RunResults
        >>> from anomalyclip_med.writers import write_scores_csv
        >>> Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
        >>> results = RunResults.of_paths("a.png")
        >>> results.scans[0].scores[:] = 0.5
        >>> provenance = {"trained": True, "model": {"clip": "offline", "prompts": "p.safetensors"}}
        >>> write_scores_csv(Path("scores.csv"), results, provenance)
        >>> print(Path("scores.csv").read_text())
        level,study,series,scan,source,slice,frame,position_mm,instance,instance_number,score,percentile,weights
        study,a,,,,,,,,,0.500000,,offline + p.safetensors
        series,a,a,a,a.png,,,,,,0.500000,,offline + p.safetensors
        slice,a,a,a,a.png,0,,,,,0.500000,,offline + p.safetensors
    """
    weights = _weights_label(provenance)
    with replaced(path) as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for study in results.studies():
            common = {"study": study["study"], "weights": weights}
            writer.writerow({"level": "study", **_scores(study), **common})
            for series in study["series"]:
                common |= {name: series[name] for name in ("series", "scan", "source")}
                writer.writerow({"level": "series", **_scores(series), **common})
                for entry in series["slices"]:
                    row = {name: entry[name] for name in ("slice", "frame", "instance", "instance_number")}
                    position = entry["position_mm"]
                    row |= {"level": "slice", "position_mm": "" if position is None else f"{position:.3f}"}
                    writer.writerow({**common, **row, **_scores(entry)})


def write_scores_json(path: Path, results: RunResults, provenance: dict[str, Any]) -> None:
    """Everything the run found, with its provenance; ``null`` stands for a score that could not be made.

    Args:
        path: of the file, which is replaced when the new one is complete.
        results: of the run.
        provenance: see :func:`anomalyclip_med.inferers.provenance`.

    Examples:
        >>> import json
        >>> import numpy as np
        >>> from PIL import Image
        >>> from anomalyclip_med.inferers import RunResults
        >>> from anomalyclip_med.writers import write_scores_json
        >>> Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
        >>> results = RunResults.of_paths("a.png")
        >>> results.scans[0].scores[:] = 0.5
        >>> write_scores_json(Path("scores.json"), results, {"version": "0.1.0"})
        >>> content = json.loads(Path("scores.json").read_text())
        >>> content["version"], content["studies"][0]["score"], content["skipped_files"]
        ('0.1.0', 0.5, [])
    """
    skipped = [{"file": s.shown, "reason": s.reason, "unreadable": s.unreadable} for s in results.skipped]
    content = {**provenance, "studies": results.studies(), "skipped_files": skipped}
    with replaced(path) as file:
        file.write(json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_map_sidecar(path: Path, result: ScanResult, provenance: dict[str, Any]) -> None:
    """What a map alone does not tell, beside it as JSON: its scan, the slices' scores, how it was made.

    Args:
        path: of the file.
        result: the scan with its scores.
        provenance: see :func:`anomalyclip_med.inferers.provenance`.

    Examples:
        >>> import json
        >>> import numpy as np
        >>> from PIL import Image
        >>> from anomalyclip_med.inferers import RunResults
        >>> from anomalyclip_med.writers import write_map_sidecar
        >>> Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
        >>> results = RunResults.of_paths("a.png")
        >>> results.scans[0].scores[:] = 0.5
        >>> write_map_sidecar(Path("a_map.json"), results.scans[0], {"version": "0.1.0"})
        >>> content = json.loads(Path("a_map.json").read_text())
        >>> content["scan"], content["shape"], content["slices"][0]["score"]
        ('a', [8, 8, 1], 0.5)
    """
    record = {name: value for name, value in result.record().items() if name != "outputs"}
    path.write_text(json.dumps({**provenance, **record}, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def scores_table(results: RunResults) -> str:
    """A table of the series, for a terminal; of many, the highest scored.

    Args:
        results: of the run.

    Examples:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from anomalyclip_med.inferers import RunResults
        >>> from anomalyclip_med.writers import scores_table
        >>> Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
        >>> results = RunResults.of_paths("a.png")
        >>> results.scans[0].scores[:] = 0.5
        >>> print(scores_table(results))
        scan    kind    slices    score    top slice    warnings
        ------  ------  --------  -------  -----------  ----------
        a       image   1         0.5000   0
    """
    series = [entry for study in results.studies() for entry in study["series"]]
    left_out = len(series) - _MOST_ROWS
    if left_out > 0:
        series = sorted(series, key=lambda s: -1.0 if s["score"] is None else s["score"], reverse=True)[:_MOST_ROWS]
    calibrated = bool(results.calibration)
    rows = []
    for entry in series:
        scores = [-1.0 if s["score"] is None else s["score"] for s in entry["slices"]]
        failures = sum("failure" in s for s in entry["slices"])
        scored = entry["score"] is not None
        rows.append(
            (
                entry["scan"],
                entry["modality"] or entry["format"],
                len(scores),
                f"{entry['score']:.4f}" if scored else "failed",
                *([f"{entry['percentile']:.1f}" if "percentile" in entry else ""] if calibrated else []),
                scores.index(max(scores)) if scored else "",
                len(entry["warnings"]) + failures + ("write_failure" in entry) or "",
            )
        )
    percentile = [f"percentile of {results.calibration.counts['series']} normals"] if results.calibration else []
    headers = ("scan", "kind", "slices", "score", *percentile, "top slice", "warnings")
    table = tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
    return table + (f"\nand {left_out} more with lower scores, see scores.csv" if left_out > 0 else "")


def _weights_label(provenance: dict[str, Any]) -> str:
    model = provenance["model"]
    return f"{model['clip']} + {model['prompts']}" if provenance["trained"] else "UNTRAINED"


def _scores(record: dict[str, Any]) -> dict[str, str]:
    score, percentile = record["score"], record.get("percentile")
    return {
        "score": "" if score is None else f"{score:.6f}",
        "percentile": "" if percentile is None else f"{percentile:.2f}",
    }
