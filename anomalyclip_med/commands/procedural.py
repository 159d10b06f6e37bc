"""The command ``anomalyclip-med procedural``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anomalyclip_med.commands.arguments import positive

_PROCEDURAL_NOTE = """\
An endless auxiliary set: textures and objects with defects and masks, seen
through many cameras. Industrial-like by design: no organs, no lesions."""


def add_procedural(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    procedural = commands.add_parser(
        "procedural", help="draw procedural images with defects", description=_PROCEDURAL_NOTE
    )
    actions = procedural.add_subparsers(required=True, metavar="ACTION")
    sheet = actions.add_parser("sheet", help="a contact sheet of every family, or of images as they come")
    sheet.add_argument("output", type=Path, metavar="PNG")
    sheet.add_argument("--rows", type=positive, metavar="N", help="rows of images as they come (default: of families)")
    sheet.add_argument("--columns", type=positive, default=10, metavar="N", help="images per row (default: 10)")
    sheet.set_defaults(run=_procedural_sheet)
    write = actions.add_parser("write", help="a folder of images, masks and a data list")
    write.add_argument("output", type=Path, metavar="FOLDER")
    write.add_argument("--count", type=positive, required=True, metavar="N", help="images")
    write.add_argument("--section", choices=("training", "test"), default="training", help="of the data list")
    write.set_defaults(run=_procedural_write)
    for action in (sheet, write):
        action.add_argument("--seed", type=int, default=0, help="of the images (default: 0)")
        action.add_argument("--size", type=positive, default=224, metavar="PIXELS", help="side (default: 224)")
        action.add_argument(
            "--settings",
            type=Path,
            metavar="JSON",
            help="what is drawn and how often, where it differs from the default",
        )


def _procedural_sheet(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.data.procedural import contact_sheet

    contact_sheet(arguments.output, rows=arguments.rows, columns=arguments.columns, **_drawn(arguments))
    print(arguments.output)
    return 0


def _procedural_write(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.data.procedural import write_folder

    print(write_folder(arguments.output, arguments.count, section=arguments.section, **_drawn(arguments)))
    return 0


def _drawn(arguments: argparse.Namespace) -> dict[str, Any]:
    from anomalyclip_med.data.procedural import Settings, read_settings

    settings = Settings() if arguments.settings is None else read_settings(arguments.settings)
    return {"seed": arguments.seed, "size": arguments.size, "settings": settings}
