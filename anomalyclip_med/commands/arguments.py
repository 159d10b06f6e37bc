"""What several commands take: kinds of values, and the options of a detector and of how it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

MODEL = (
    "model",
    "method",
    "class_name",
    "clip",
    "activation",
    "prompts",
    "image_size",
    "feature_layers",
    "skip_background",
)
"""What `add_model` adds."""
RUNNING = ("device", "precision", "batch_size")
"""What `add_running` adds."""


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def add_model(
    parser: argparse.ArgumentParser,
    prompts: str = "name from 'weights list', or a file (default: those for the CLIP)",
    whole: bool = False,
) -> None:
    """Add the options of a detector; those of one in a file as well where it can be run."""
    option = parser.add_argument_group("model").add_argument
    if whole:
        option(
            "--model",
            metavar="FILE",
            help="a whole detector that 'export' wrote as .safetensors or .onnx, in place of the other options here",
        )
    else:
        parser.set_defaults(model=None)
    option(
        "--method",
        metavar="NAME",
        help="anomalyclip (default), or a baseline: clip, clip-ac, winclip, coop, vand",
    )
    option(
        "--class-name",
        metavar="NAME",
        help="what the texts of a baseline name, such as brain; labelled images bring their own (default: object)",
    )
    option(
        "--clip",
        metavar="NAME",
        help="offline, offline-text, untrained, open_clip NAME/TAG such as ViT-L-14-336/openai, or a weights file "
        "(default: offline; of a baseline the CLIP that it is made for)",
    )
    option("--activation", choices=("quick_gelu", "gelu"), help="for a CLIP file that does not tell its activation")
    option("--prompts", metavar="NAME", help=prompts)
    option(
        "--image-size",
        type=positive,
        metavar="PIXELS",
        help="side of the model's input (default: 224 offline, else 518; with clip, clip-ac, coop and winclip the side "
        "that their CLIP was trained at)",
    )
    option(
        "--feature-layers",
        type=_integers,
        metavar="N,N,...",
        help="blocks that make the map (default: those that the prompts were learned for)",
    )
    option(
        "--skip-background",
        action="store_const",
        const=True,
        help="leave patches of the black around the body out, which is faster and not exact (default: keep them)",
    )


def add_running(parser: argparse.ArgumentParser, batch_size: str = "slices at a time (default: 4)") -> None:
    """Add the options of how a detector is run."""
    option = parser.add_argument_group("running").add_argument
    option("--device", type=_device, metavar="DEVICE", help="cpu, cuda:0, ... (default: a GPU where there is one)")
    option(
        "--precision",
        choices=("float32", "bfloat16", "float16", "int8"),
        help="of the vision blocks: bfloat16 for GPUs and CPUs with AMX, float16 for GPUs, int8 for CPUs with VNNI "
        "are faster and not exact (default: float32)",
    )
    option("--batch-size", type=positive, metavar="N", help=batch_size)


def chosen(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The configuration values that were given, with those of the model.

    The authors' prompts are the default for their method on a CLIP that the package ships none for.
    """
    values = {n: getattr(arguments, n) for n in (*MODEL, *names) if getattr(arguments, n) is not None}
    of_authors = arguments.method in (None, "anomalyclip") and arguments.model is None
    if of_authors and arguments.clip not in (None, "offline", "offline-text", "untrained"):
        values.setdefault("prompts", "anomalyclip-mvtec")
    return values


def _device(text: str) -> str:
    import torch

    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used: {str(error).splitlines()[0]}") from None
    return text


def _integers(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]
