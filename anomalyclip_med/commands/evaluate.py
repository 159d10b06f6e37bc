"""The command ``anomalyclip-med evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anomalyclip_med.commands.arguments import RUNNING, add_model, add_running, chosen

_EVALUATE = """\
Measure the accuracy on labelled images:

  anomalyclip-med datasets prepare headct ~/data/HeadCT
  anomalyclip-med evaluate ~/data/HeadCT/datalist.json -o results

OUT receives metrics.json, metrics.csv and curves.png: AUROC, average precision
and highest F1 of images and pixels, AUPRO, exact and as the authors compute it,
per class with 95 % intervals, and on average; of patients, where the list has
groups. Below the table stand the published figures of the data set."""


def add_evaluate(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure accuracy on labelled images",
        description=_EVALUATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("datalist", type=Path, metavar="DATALIST", help="from 'datasets prepare', or your own")
    evaluate.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="folder for the results")
    evaluate.add_argument(
        "--root", type=Path, metavar="FOLDER", help="that the list's paths are relative to (default: the list's folder)"
    )
    evaluate.add_argument("--section", metavar="NAME", help="of the list (default: test)")
    evaluate.add_argument(
        "--fpr-limit", type=float, metavar="RATE", help="false-positive rate up to which AUPRO counts (default: 0.3)"
    )
    evaluate.add_argument("--aggregation", metavar="RULE", help="of a patient's images: max, top3, p95 (default: max)")
    add_model(evaluate, whole=True)
    add_running(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.bundle import run_bundle

    run_bundle(
        "anomalyclip_zero_shot",
        ["inference.json", "evaluate.json"],
        datalist=str(arguments.datalist),
        dataset_dir=str(arguments.root or arguments.datalist.parent),
        output_dir=arguments.output,
        **chosen(arguments, (*RUNNING, "section", "fpr_limit", "aggregation")),
    )
    return 0
