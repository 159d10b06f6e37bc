"""The command ``anomalyclip-med export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anomalyclip_med.commands.arguments import add_model, chosen

_EXPORT = """\
Write a whole detector into one file. The suffix of OUT tells the kind:

  .safetensors  compact: the vision tower and the two text features. Starts
                without a text tower, and is mapped, not read, into memory.
  .onnx         ONNX, the weights inside
  .pt2          torch.export
  .ts           TorchScript

The last three take RGB in [0, 1], any number of images at a time, and give
scores and maps. --model FILE of 'score' and 'evaluate' runs the first two."""

_EXPORT_EXAMPLES = """\
examples:
  anomalyclip-med export detector.safetensors --clip ViT-L-14-336/openai
  anomalyclip-med score scans/ -o out --model detector.safetensors"""


def add_export(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    export = commands.add_parser(
        "export",
        help="write a whole detector into one file",
        description=_EXPORT,
        epilog=_EXPORT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("output", type=Path, metavar="OUT", help="file ending in .safetensors, .onnx, .pt2 or .ts")
    add_model(export)
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.exports import export_detector
    from anomalyclip_med.factory import create_model

    print(export_detector(create_model(**{"prompts": "auto", **chosen(arguments, ())}), arguments.output))
    return 0
