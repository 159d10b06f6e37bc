"""The command ``anomalyclip-med train``."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anomalyclip_med.commands.arguments import MODEL, RUNNING, add_model, add_running, positive
from anomalyclip_med.errors import ConfigurationError

_TRAIN = """\
Learn prompts from labelled images, or from drawn ones:

  anomalyclip-med datasets prepare visa ~/data/VisA
  anomalyclip-med train ~/data/VisA/datalist.json --section test -o trained
  anomalyclip-med train --procedural 2000 -o trained
  anomalyclip-med train ~/data/mine/datalist.json --few-shot 8 --prompts auto -o mine
  anomalyclip-med score scans/ -o out --prompts trained/prompts.safetensors

OUT receives prompts.safetensors, which hold the settings that they were learned
in, and training.json: settings, losses, metrics. Run the same command again
after an interruption: it goes on where it was."""

_TRAIN_OPTIONS = (
    "section",
    "few_shot",
    "mosaic",
    "procedural",
    "validation_section",
    "metric",
    "patience",
    "epochs",
    "learning_rate",
    "loss",
    "seed",
    "accumulate",
    "cache",
    "cache_dtype",
    "tensorboard",
    "tracking",
)

_TRAIN_NEEDS = {
    "datalist": ("root", "section", "few_shot", "mosaic", "validation_section"),
    "validation_section": ("metric", "patience"),
    "cache": ("cache_dtype",),
}
"""Options of 'train' without which others would have no effect."""


def add_train(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
    train = commands.add_parser(
        "train",
        help="learn prompts from labelled or drawn images",
        description=_TRAIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = train.add_argument
    option("datalist", type=Path, nargs="?", metavar="DATALIST", help="from 'datasets prepare', or your own")
    option("--procedural", type=positive, metavar="N", help="learn from N drawn images in place of a data list")
    option("-o", "--output", required=True, type=Path, metavar="OUT", help="folder for the results")
    option(
        "--root", type=Path, metavar="FOLDER", help="that the list's paths are relative to (default: the list's folder)"
    )
    option("--section", metavar="NAME", help="of the list, to learn from (default: training)")
    option("--few-shot", type=positive, metavar="K", help="learn from K images of each class and label (default: all)")
    option(
        "--mosaic", type=float, metavar="SHARE", help="of images that are four of their class, as VAND has (default: 0)"
    )
    option("--validation-section", metavar="NAME", help="of the list, to choose the best epoch by (default: none)")
    option("--metric", metavar="NAME", help="what is best: image_auroc (default), image_ap, pixel_auroc, _ap, _aupro")
    option("--patience", type=positive, metavar="EPOCHS", help="without a better metric, then training ends")
    option("--epochs", type=positive, metavar="N", help="passes over the images (default: 15)")
    option("--learning-rate", type=float, metavar="RATE", help="of Adam (default: 0.001)")
    option("--loss", choices=("both", "global", "local"), help="default: both, local without a text tower")
    option("--seed", type=int, metavar="N", help="of the start, of drawn images and of the order (default: 0)")
    option("--accumulate", type=positive, metavar="N", help="pieces of a batch, where memory is short (default: 1)")
    option("--cache", metavar="WHERE", help="keep image features: 'memory', or a folder (default: not)")
    option("--cache-dtype", choices=("float32", "float16"), help="of kept features (default: float32)")
    option("--tensorboard", action="store_const", const=True, help="write losses and metrics for TensorBoard")
    option("--tracking", choices=("mlflow",), help="record the run with MLflow, in OUT/mlruns.db")
    add_model(
        train,
        prompts="to start from: a file, a name from 'weights list', or auto: those shipped for the offline backbone, "
        "random vectors for any other (default: random vectors)",
    )
    add_running(train, batch_size="images per step (default: 8)")
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.bundle import run_bundle

    if (arguments.datalist is None) == (arguments.procedural is None):
        raise ConfigurationError("give either a data list or --procedural N")
    for needed, others in _TRAIN_NEEDS.items():
        idle = [f"--{name.replace('_', '-')}" for name in others if getattr(arguments, name) is not None]
        if idle and getattr(arguments, needed) is None:
            wanted = "a data list" if needed == "datalist" else f"--{needed.replace('_', '-')}"
            raise ConfigurationError(f"{', '.join(idle)}: without effect, give {wanted} as well")
    names = (*MODEL, *RUNNING, *_TRAIN_OPTIONS)
    options = {n: getattr(arguments, n) for n in names if getattr(arguments, n) is not None}
    if arguments.datalist:
        options["datalist"] = str(arguments.datalist)
        options["dataset_dir"] = str(arguments.root or arguments.datalist.parent)
    if arguments.tracking and not find_spec("mlflow"):
        raise ConfigurationError("mlflow is not installed: pip install 'anomalyclip-med[tracking]'")
    run_bundle("anomalyclip_zero_shot", ["inference.json", "train.json"], output_dir=str(arguments.output), **options)
    return 0
