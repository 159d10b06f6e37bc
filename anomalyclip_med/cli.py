"""The command ``anomalyclip-med``."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence

from anomalyclip_med import __version__
from anomalyclip_med.commands.calibrate import add_calibrate
from anomalyclip_med.commands.datasets import add_datasets
from anomalyclip_med.commands.evaluate import add_evaluate
from anomalyclip_med.commands.export import add_export
from anomalyclip_med.commands.names import add_names
from anomalyclip_med.commands.procedural import add_procedural
from anomalyclip_med.commands.score import add_score
from anomalyclip_med.commands.study import add_study
from anomalyclip_med.commands.train import add_train
from anomalyclip_med.commands.weights import add_weights
from anomalyclip_med.errors import AnomalyClipMedError
from anomalyclip_med.pacs.command import add_pacs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    atexit.register(gc.freeze)  # to search all modules for cycles once more, at the end, takes a second
    # MONAI imports MLflow wherever it is installed, and MLflow reports its use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `| head` has seen enough; at its end Python would flush once more, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except AnomalyClipMedError as error:
        print(f"anomalyclip-med: {error}", file=sys.stderr)
        return 2
    except Exception:  # 1 stands for an incomplete run, which is what Python itself would end with here
        traceback.print_exc()
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anomalyclip-med",
        description="Zero-shot anomaly detection for medical imaging. Research use only; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"anomalyclip-med {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_score(commands)
    add_weights(commands)
    add_procedural(commands)
    add_names(commands)
    add_calibrate(commands)
    add_evaluate(commands)
    add_train(commands)
    add_export(commands)
    add_datasets(commands)
    add_study(commands)
    add_pacs(commands, lambda options: parser.parse_args(["score", "STUDY", "--output=OUT", *options]))
    return parser


if __name__ == "__main__":
    sys.exit(main())
