"""The command ``anomalyclip-med datasets``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_DESCRIPTION = """\
Data sets as their publishers pack them, and your own images, become data lists
that the bundle evaluates. Nothing is downloaded.

  anomalyclip-med datasets info headct
  anomalyclip-med datasets prepare headct ~/data/HeadCT
  anomalyclip-med datasets prepare folder my_images/"""


def add_datasets(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    raw = argparse.RawDescriptionHelpFormatter
    datasets = commands.add_parser(
        "datasets", help="find data sets and make data lists", description=_DESCRIPTION, formatter_class=raw
    )
    actions = datasets.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the data sets that are known")
    listing.add_argument("--markdown", action="store_true", help="all that is known of them, as docs/datasets.md")
    listing.set_defaults(run=_list)
    info = actions.add_parser("info", help="what a data set is, where to get it, how it is laid out")
    info.add_argument("name", metavar="NAME", help="from 'datasets list', or 'folder'")
    info.set_defaults(run=_info)
    prepare = actions.add_parser("prepare", help="find a data set in a folder, check it, write its data list")
    prepare.add_argument("name", metavar="NAME", help="from 'datasets list', or 'folder' for your own images")
    prepare.add_argument("root", type=Path, metavar="ROOT", help="folder it was unpacked into, or a meta.json")
    prepare.add_argument("-o", "--output", type=Path, metavar="JSON", help="data list (default: ROOT/datalist.json)")
    prepare.add_argument("--meta-json", type=Path, metavar="FILE", help="also write AnomalyCLIP's meta.json")
    prepare.add_argument("--masks", type=Path, metavar="FOLDER", help="masks made by others, named as the images are")
    prepare.add_argument("--class-name", metavar="CLASS", help="class of all images, instead of the one found")
    prepare.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="JSON",
        help="data list of another data set that is reported with this one: equal files are told; may be repeated",
    )
    prepare.add_argument("--strict", action="store_true", help="exit status 1 if there are warnings")
    prepare.set_defaults(run=_prepare)
    shared = actions.add_parser("shared", help="images that two data lists have in common, byte by byte")
    shared.add_argument("lists", nargs=2, type=Path, metavar="JSON")
    shared.set_defaults(run=_shared)


def _list(arguments: argparse.Namespace) -> int:
    from tabulate import tabulate

    from anomalyclip_med.data.datasets.page import page
    from anomalyclip_med.data.datasets.registry import DATA_SETS

    if arguments.markdown:
        print(page(), end="")
        return 0
    rows = [(e.name, e.title, ", ".join(e.objects[:3]) + ", ..." * (len(e.objects) > 3)) for e in DATA_SETS.values()]
    print(tabulate(rows, ("name", "data set", "classes"), tablefmt="simple", disable_numparse=True))
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.data.datasets.page import describe
    from anomalyclip_med.data.datasets.registry import data_set

    print(describe(data_set(arguments.name)), end="")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.data.datasets.prepare import prepare

    prepared = prepare(arguments.name, arguments.root, arguments.masks, arguments.class_name, arguments.beside)
    output = arguments.output or prepared.root / "datalist.json"
    prepared.write(output, arguments.meta_json)
    print(prepared.summary())
    print(output)
    return int(arguments.strict and bool(prepared.warnings))


def _shared(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.data.datasets.shared import shared_files

    pairs = shared_files(*arguments.lists)
    for pair in pairs:
        print(*pair, sep="\t")
    print(f"{len(pairs)} pairs of equal files")
    return 0
