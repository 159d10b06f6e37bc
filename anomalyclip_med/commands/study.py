"""The command ``anomalyclip-med study``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from anomalyclip_med.commands.arguments import positive

_RUN = """\
Run a study: all variants, learned from and measured on all data sets, with all
seeds. The plan comes first, with an estimate of the time. A study that was
stopped goes on when the same command is started again; a cell that fails loses
no other one.

  anomalyclip-med study run configs/studies/modules.yaml --data ~/data -o modules
  anomalyclip-med study run configs/studies/modules.yaml --profile full --dry-run

OUT receives report.md with its tables and pictures, and results.csv, a figure per row."""


def add_study(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    study = commands.add_parser("study", help="compare methods, ablations and transfers in tables")
    actions = study.add_subparsers(required=True, metavar="ACTION")
    run = actions.add_parser(
        "run", help="run a study", description=_RUN, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = run.add_argument
    option("study", type=Path, metavar="YAML", help="see configs/studies")
    option(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="that the profile's folders are relative to (default: ANOMALYCLIP_MED_DATA)",
    )
    option("-o", "--output", type=Path, metavar="OUT", help="folder for the results (default: studies/NAME)")
    option(
        "--features",
        type=Path,
        metavar="FOLDER",
        help="image features, of several studies maybe (default: OUT/features)",
    )
    option("--profile", metavar="NAME", help="of profiles/NAME.yaml beside the study, in place of the study's own")
    option("--jobs", type=positive, default=1, metavar="N", help="processes (default: 1)")
    option("--device", metavar="DEVICE", help="cpu, cuda:0, ... (default: a GPU where there is one)")
    option("--dry-run", action="store_true", help="print the plan only; nothing is downloaded and no image read")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.studies.config import load_study
    from anomalyclip_med.studies.run import dry_run, run_study

    study = load_study(arguments.study, arguments.profile)
    data = arguments.data or Path(os.environ.get("ANOMALYCLIP_MED_DATA", "data"))
    if arguments.dry_run:
        dry_run(study, data.expanduser(), arguments.device, arguments.jobs)
        return 0
    output = arguments.output or Path("studies") / study.name
    features = (arguments.features or output / "features").expanduser()
    failures = run_study(study, data.expanduser(), output.expanduser(), features, arguments.device, arguments.jobs)
    return 1 if failures else 0
