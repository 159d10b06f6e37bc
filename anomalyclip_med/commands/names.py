"""The command ``anomalyclip-med names``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_names(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    names = commands.add_parser("names", help="which file a hashed name stands for")
    names.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="as given to 'score'")
    names.set_defaults(run=_names)


def _names(arguments: argparse.Namespace) -> int:
    from tabulate import tabulate

    from anomalyclip_med.data import find_scans

    scans, skipped = find_scans(arguments.paths, show_names=False)
    rows = [(s.name, str(i), file) for s in scans for i, file in enumerate(dict.fromkeys(s.files))]
    rows += [(s.shown, "", s.path) for s in skipped]
    print(tabulate(rows, ("name", "file", "path"), tablefmt="plain", disable_numparse=True))
    return 0
