"""The command ``anomalyclip-med calibrate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_CALIBRATE = """\
Learn what normal scores are, from studies that are known to be normal:

  anomalyclip-med score normal/ -o normal_results
  anomalyclip-med calibrate normal_results -o calibration.json
  anomalyclip-med score new/ -o results --calibration calibration.json

Scores then come with their percentile among the normal ones. Normals should be
of the same scanner, protocol and kind of patient, and as many as possible: of
40 studies the highest tells no more than that it was the highest of 40."""


def add_calibrate(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    calibrate = commands.add_parser(
        "calibrate",
        help="learn what normal scores are",
        description=_CALIBRATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    calibrate.add_argument("results", nargs="+", type=Path, metavar="OUT", help="folder of 'score' on normal studies")
    calibrate.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the calibration (.json)")
    calibrate.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.inferers import calibrate, write_calibration

    calibration = calibrate(arguments.results)
    write_calibration(arguments.output, calibration)
    counts = calibration.counts
    print(f"{arguments.output}: {counts['study']} normal studies, {counts['series']} series, {counts['slice']} slices")
    print(f"A study's percentile moves in steps of {100 / counts['study']:.3g}")
    return 0
