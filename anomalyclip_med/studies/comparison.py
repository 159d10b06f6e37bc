"""Checkpoints of prompts evaluated one after the other, in one table beside the figures that were published."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from anomalyclip_med.bundle import run_bundle
from anomalyclip_med.data.datasets import data_set
from anomalyclip_med.errors import WeightsError

_METRICS = {"pixel_auroc": "pixel_auroc", "pixel_aupro_reference": "pixel_aupro"}
"""Ours and what it was published as: the authors' AUPRO is that of 200 thresholds."""


def comparison_rows(evaluations: Mapping[str, Mapping[str, Any]], source: str) -> list[dict[str, Any]]:
    """One row per training set: our pixel metrics, the published ones and the differences, in percent.

    Args:
        evaluations: by the data set that the prompts were trained on, contents of ``metrics.json``, whose figures are
            those of their mean over classes.
        source: whose published figures, as :class:`~anomalyclip_med.studies.PublishedFigure` names it. An evaluation
            that cannot be compared, of another section or false-positive rate, has none.

    Returns:
        Rows with ``trained_on``, ``prompts``, ``images`` and, for ``pixel_auroc`` and ``pixel_aupro_reference``, the
        figure, ``..._published`` and ``..._difference`` (ours minus theirs); None where one is missing,
        and of a difference where ours is not of as many images as the whole set has. Those that only
        we have come first, then the published ones in their order.
    """
    published: dict[str, dict[str, float]] = {}
    whole = None
    for evaluation in evaluations.values():
        for figure in evaluation["published"]:
            if figure["source"] == source:
                published.setdefault(figure["trained_on"], {})[figure["metric"]] = figure["percent"]
                whole = sum(data_set(figure["dataset"]).expected[0].counts["test"])
    rows = []
    for trained_on in [*(name for name in evaluations if name not in published), *published]:
        ours = evaluations.get(trained_on)
        images = sum(c["images"] for c in ours["classes"].values()) if ours else None
        row: dict[str, Any] = {
            "trained_on": trained_on,
            "prompts": ours["model"]["prompts"] if ours else None,
            "images": images,
        }
        for metric, name in _METRICS.items():
            value = ours["mean"][metric] if ours else None
            row[metric] = None if value is None else 100 * value
            row[f"{metric}_published"] = theirs = published.get(trained_on, {}).get(name)
            comparable = theirs if images == whole else None
            row[f"{metric}_difference"] = None if value is None or comparable is None else 100 * value - comparable
        rows.append(row)
    return rows


def compare(checkpoints: Mapping[str, str], output_dir: str | Path, source: str, **options: Any) -> None:
    """Evaluate checkpoints with the zero-shot bundle; print and write one table of all.

    ``output_dir`` receives a folder per checkpoint with what an evaluation writes, and ``comparison.csv`` and
    ``comparison.md``. A checkpoint that cannot be had leaves its row without figures of ours.

    Args:
        checkpoints: by the data set that they were trained on, what ``prompts`` of an evaluation takes.
        output_dir: folder of the results.
        source: see :func:`comparison_rows`.
        options: of the evaluation, the same for all.

    Raises:
        WeightsError: (at the end) there are checkpoints that cannot be had; says for each what to do.
        AnomalyClipMedError: whatever else an evaluation raises.

    Examples:
        >>> from anomalyclip_med.studies import compare
        >>> options = {"clip": "untrained", "dataset_dir": "TN3K", "image_size": 42}
        >>> compare({"tn3k": "tuned/prompts.safetensors"}, "out", "TN3K fine-tuning article", **options)
        Traceback (most recent call last):
        anomalyclip_med.errors.WeightsError: 1 of 1 checkpoints could not be evaluated:
          trained on tn3k: tuned/prompts.safetensors: neither a file nor a registered prompt checkpoint; ...
    """
    output_dir = Path(output_dir).expanduser()
    evaluations, missing = {}, {}
    for trained_on, prompts in checkpoints.items():
        folder = output_dir / trained_on
        try:
            run_bundle(
                "anomalyclip_zero_shot",
                ["inference.json", "evaluate.json"],
                prompts=prompts,
                output_dir=str(folder),
                **options,
            )
        except WeightsError as error:
            missing[trained_on] = str(error)
        else:
            evaluations[trained_on] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if evaluations:
        rows = comparison_rows(evaluations, source)
        with (output_dir / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        text = _page(rows, list(evaluations.values()), source)
        (output_dir / "comparison.md").write_text(text, encoding="utf-8")
        print(f"\n{text}\nResults: {output_dir / 'comparison.csv'}")
    if missing:
        told = "\n".join(f"  trained on {name}: {reason}" for name, reason in missing.items())
        raise WeightsError(f"{len(missing)} of {len(checkpoints)} checkpoints could not be evaluated:\n{told}")


def _page(rows: Sequence[dict[str, Any]], evaluations: Sequence[Mapping[str, Any]], source: str) -> str:
    """The table, and what is to be known to read it."""

    def shown(name: str, value: Any) -> str:
        if isinstance(value, float):
            return f"{value:+.1f}" if name.endswith("_difference") else f"{value:.1f}"
        return "" if value is None else str(value)

    titles = [
        name.rpartition("_")[2] if name.startswith("pixel") and name not in _METRICS else name for name in rows[0]
    ]
    cells = [[shown(name, value) for name, value in row.items()] for row in rows]
    clips = ", ".join(dict.fromkeys(e["model"]["clip"] for e in evaluations))
    notices = dict.fromkeys(e["notice"] for e in evaluations if e["notice"])
    lines = [
        tabulate(cells, titles, tablefmt="pipe", disable_numparse=True),
        "",
        f"In percent; ours with the CLIP {clips}. Published: {source}, of the whole set and with its authors' CLIP. A",
        "difference stands only where ours is of as many images, and tells something where the CLIP is the same.",
        *notices,
    ]
    return "\n".join(lines) + "\n"
