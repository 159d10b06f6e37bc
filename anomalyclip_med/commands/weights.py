"""The command ``anomalyclip-med weights``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_WEIGHTS_NOTE = """\
Prompts are small; the CLIP they belong to is named by --clip and downloaded by
open_clip on first use, or read from a file. 'offline' is a backbone that pip
brings, with embeddings that the package ships."""


def add_weights(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    weights = commands.add_parser(
        "weights", help="list, fetch and verify prompt checkpoints", description=_WEIGHTS_NOTE
    )
    actions = weights.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the known checkpoints and whether they are here")
    listing.set_defaults(run=_weights_list)
    fetch = actions.add_parser("fetch", help="download prompts or the offline backbone, resuming and checking them")
    fetch.add_argument("name", help="from 'weights list', or 'offline'")
    fetch.add_argument("--to", type=Path, metavar="FOLDER", help="where prompts go (default: the cache)")
    fetch.set_defaults(run=_weights_fetch)
    verify = actions.add_parser("verify", help="check a file against the registry")
    verify.add_argument("name", help="from 'weights list', 'offline', or a file")
    verify.set_defaults(run=_weights_verify)


def _weights_list(arguments: argparse.Namespace) -> int:
    from tabulate import tabulate

    from anomalyclip_med.backbones.offline import PROVENANCE
    from anomalyclip_med.weights import list_weights, verify

    rows = [(w.name, w.trained_on, verify(w.name).state, w.description) for w in list_weights()]
    print(tabulate(rows, ("prompts", "trained on", "state", "what"), tablefmt="simple"))
    print(f"\nand the backbone 'offline': {PROVENANCE.partition(': ')[2]}")
    return 0


def _weights_fetch(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.backbones.offline import OFFLINE_NAME, fetch_offline
    from anomalyclip_med.weights import fetch

    print(fetch_offline() if arguments.name == OFFLINE_NAME else fetch(arguments.name, arguments.to))
    return 0


def _weights_verify(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.backbones.offline import OFFLINE_NAME, PROVENANCE, offline_path
    from anomalyclip_med.weights import FileState, verify

    if arguments.name == OFFLINE_NAME:
        print(f"{offline_path()}: {PROVENANCE}")
        return 0
    result = verify(arguments.name)
    print(result.detail)
    return 0 if result.state is FileState.OK else 1
