"""The command ``anomalyclip-med``."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anomalyclip_med import __version__
from anomalyclip_med.arguments import positive
from anomalyclip_med.cli_datasets import add_datasets
from anomalyclip_med.cli_study import add_study
from anomalyclip_med.errors import AnomalyClipMedError, ConfigurationError
from anomalyclip_med.pacs.command import add_pacs

_SCORE = """\
Score scans slice by slice and draw heat maps, with no training on your data.

PATH is a file or a folder; folders are searched through. DICOM series (CT, MR,
ultrasound cines, ...), NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF and BMP may lie
mixed together. OUT receives
  scores.csv, scores.json          per slice, series and study
  SCAN/SCAN_map.nii.gz             the heat map in [0, 1] on the scan's own grid
  SCAN/SCAN_map.json               how it was made, and its slices' scores
  SCAN/SCAN_map.png                of a 2-D image: the same as grey values
  SCAN/SCAN_overlay_0012.png       pictures of the highest scored slices
  index.html, reports/             with --report: pages for a browser
  SCAN/SCAN_pm.dcm, ...            with --dicom: objects for a PACS
  manifest.jsonl                   log of the finished studies
Run the same command again after an interruption: finished studies are kept,
those that failed or changed are scored."""

_SCORE_EXAMPLES = """\
examples:
  a folder with anything in it, with the offline backbone
    anomalyclip-med weights fetch offline
    anomalyclip-med score scans/ -o out
  the same with OpenAI's CLIP and the authors' prompts trained on MVTec AD
    anomalyclip-med weights fetch anomalyclip-mvtec
    anomalyclip-med score scans/ -o out --clip ViT-L-14-336/openai
  a head CT through the brain window, on the CPU, with OpenAI's CLIP from a file
    anomalyclip-med score head_ct/ -o out --window brain --device cpu --clip ViT-L-14-336px.pt
  an MR volume in coronal slices
    anomalyclip-med score t1.nii.gz -o out --plane coronal

exit status: 0 all scored, 1 something could not be scored (scores.json says what),
2 nothing could be done (the message says why)"""

_MODEL = (
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
_RUNNING = ("device", "precision", "batch_size")

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

_WEIGHTS_NOTE = """\
Prompts are small; the CLIP they belong to is named by --clip and downloaded by
open_clip on first use, or read from a file. 'offline' is a backbone that pip
brings, with embeddings that the package ships."""


_PROCEDURAL_NOTE = """\
An endless auxiliary set: textures and objects with defects and masks, seen
through many cameras. Industrial-like by design: no organs, no lesions."""


_EVALUATE = """\
Measure the accuracy on labelled images:

  anomalyclip-med datasets prepare headct ~/data/HeadCT
  anomalyclip-med evaluate ~/data/HeadCT/datalist.json -o results

OUT receives metrics.json, metrics.csv and curves.png: AUROC, average precision
and highest F1 of images and pixels, AUPRO, exact and as the authors compute it,
per class with 95 % intervals, and on average; of patients, where the list has
groups. Below the table stand the published figures of the data set."""

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

_CALIBRATE = """\
Learn what normal scores are, from studies that are known to be normal:

  anomalyclip-med score normal/ -o normal_results
  anomalyclip-med calibrate normal_results -o calibration.json
  anomalyclip-med score new/ -o results --calibration calibration.json

Scores then come with their percentile among the normal ones. Normals should be
of the same scanner, protocol and kind of patient, and as many as possible: of
40 studies the highest tells no more than that it was the highest of 40."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    atexit.register(gc.freeze)  # to search all modules for cycles once more, at the end, takes a second
    # MONAI imports MLflow wherever it is installed, and MLflow reports its use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
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
    _add_score(commands)
    _add_weights(commands)
    _add_procedural(commands)
    _add_names(commands)
    _add_calibrate(commands)
    _add_evaluate(commands)
    _add_train(commands)
    _add_export(commands)
    add_datasets(commands)
    add_study(commands)
    add_pacs(commands, lambda options: parser.parse_args(["score", "STUDY", "--output=OUT", *options]))
    return parser


def _add_score(commands: Any) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    score = commands.add_parser(
        "score",
        help="score scans and draw heat maps",
        description=_SCORE,
        epilog=_SCORE_EXAMPLES,
        formatter_class=raw,
    )
    score.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or folder")
    score.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="folder for the results")
    _add_model(score, whole=True)
    _add_running(score)
    option = score.add_argument_group("scans").add_argument
    option(
        "--window",
        type=_window,
        metavar="WINDOW",
        help="auto, percentile, voi (the file's own), brain, subdural, stroke, bone, lung, mediastinum, abdomen, or "
        "CENTRE,WIDTH, as in --window=-600,1500; three joined by + for red, green and blue, as in brain+subdural+bone "
        "(default: auto: CT abdomen, 8-bit pictures as stored, else percentiles 0.5 to 99.5)",
    )
    option(
        "--empty-below",
        type=float,
        metavar="SHARE",
        help="score 0 for slices of which a smaller share is brighter than 5 %% of the window, such as 0.01 for air "
        "(default: 0: score all)",
    )
    option(
        "--plane",
        choices=("auto", "axial", "coronal", "sagittal"),
        help="slicing plane (default: auto: DICOM as acquired, volume files axial)",
    )
    option(
        "--show-names",
        action="store_const",
        const=True,
        help="name results after files and folders, and tell paths; without it hashes stand for them, as they may hold "
        "a patient's name ('anomalyclip-med names' tells which is which)",
    )
    option("--jobs", type=positive, metavar="N", help="processes that read DICOM headers (default: 1)")
    option = score.add_argument_group("results").add_argument
    option(
        "--aggregation",
        metavar="RULE",
        help="how slice scores make that of a series: max, top3 (mean of the highest 3), p95 (default: max)",
    )
    option(
        "--calibration",
        metavar="FILE",
        help="from 'anomalyclip-med calibrate': tells each score's percentile among your normal scans",
    )
    option("--report", action="store_const", const=True, help="pages for a browser: index.html and one per study")
    option(
        "--dicom",
        metavar="KIND,...",
        help="DICOM objects in the study of a DICOM scan: pm (parametric map), seg (segmentation), sc (secondary "
        "captures), sr (structured report)",
    )
    option(
        "--threshold",
        metavar="VALUE",
        help="map value above which the DICOM segmentation begins, or p99.5 for a percentile of the pixels of your "
        "normal scans (default: a fractional segmentation)",
    )
    option(
        "--deidentify",
        action="store_const",
        const=True,
        help="DICOM objects without the patient's identity, dates and original UIDs",
    )
    option("--top-slices", type=int, metavar="N", help="overlay pictures per scan (default: 3)")
    score.set_defaults(run=_score)


def _add_model(
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


def _add_running(parser: argparse.ArgumentParser, batch_size: str = "slices at a time (default: 4)") -> None:
    option = parser.add_argument_group("running").add_argument
    option("--device", type=_device, metavar="DEVICE", help="cpu, cuda:0, ... (default: a GPU where there is one)")
    option(
        "--precision",
        choices=("float32", "bfloat16", "float16", "int8"),
        help="of the vision blocks: bfloat16 for GPUs and CPUs with AMX, float16 for GPUs, int8 for CPUs with VNNI "
        "are faster and not exact (default: float32)",
    )
    option("--batch-size", type=positive, metavar="N", help=batch_size)


def _chosen(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The configuration values that were given, with those of the model."""
    values = {n: getattr(arguments, n) for n in (*_MODEL, *names) if getattr(arguments, n) is not None}
    of_authors = arguments.method in (None, "anomalyclip") and arguments.model is None
    if of_authors and arguments.clip not in (None, "offline", "offline-text", "untrained"):
        values.setdefault("prompts", "anomalyclip-mvtec")
    return values


def _score(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.bundle import run_bundle
    from anomalyclip_med.inferers import IncompleteRunError

    logging.getLogger("monai.bundle.workflows").setLevel(logging.WARNING)  # it announces its own logging file
    names = (
        *_RUNNING,
        "window",
        "empty_below",
        "plane",
        "top_slices",
        "jobs",
        "show_names",
        "aggregation",
        "calibration",
        "report",
        "dicom",
        "threshold",
        "deidentify",
    )
    try:
        run_bundle(
            "anomalyclip_zero_shot",
            ["inference.json"],
            dataset_dir=arguments.paths,
            output_dir=arguments.output,
            **_chosen(arguments, names),
        )
    except IncompleteRunError as error:
        print(f"anomalyclip-med: {error}", file=sys.stderr)
        return 1
    return 0


def _add_weights(commands: Any) -> None:
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


def _add_procedural(commands: Any) -> None:
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


def _add_names(commands: Any) -> None:
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


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure accuracy on labelled images",
        description=_EVALUATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("datalist", type=Path, metavar="DATALIST", help="from 'datasets prepare', or your own")
    evaluate.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="folder for the results")
    evaluate.add_argument(
        "--root", type=Path, metavar="FOLDER", help="that the list's paths are relative to (default: the list's folder)"
    )
    evaluate.add_argument("--section", metavar="NAME", help="of the list (default: test)")
    evaluate.add_argument(
        "--fpr-limit", type=float, metavar="RATE", help="false-positive rate up to which AUPRO counts (default: 0.3)"
    )
    evaluate.add_argument("--aggregation", metavar="RULE", help="of a patient's images: max, top3, p95 (default: max)")
    _add_model(evaluate, whole=True)
    _add_running(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.bundle import run_bundle

    logging.getLogger("monai.bundle.workflows").setLevel(logging.WARNING)  # it announces its own logging file
    run_bundle(
        "anomalyclip_zero_shot",
        ["inference.json", "evaluate.json"],
        datalist=str(arguments.datalist),
        dataset_dir=str(arguments.root or arguments.datalist.parent),
        output_dir=arguments.output,
        **_chosen(arguments, (*_RUNNING, "section", "fpr_limit", "aggregation")),
    )
    return 0


def _add_train(commands: Any) -> None:
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
    _add_model(
        train,
        prompts="to start from: a file, a name from 'weights list', or auto: those shipped for the offline backbone, "
        "random vectors for any other (default: random vectors)",
    )
    _add_running(train, batch_size="images per step (default: 8)")
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
    names = (*_MODEL, *_RUNNING, *_TRAIN_OPTIONS)
    options = {n: getattr(arguments, n) for n in names if getattr(arguments, n) is not None}
    if arguments.datalist:
        options["datalist"] = str(arguments.datalist)
        options["dataset_dir"] = str(arguments.root or arguments.datalist.parent)
    if arguments.tracking and not find_spec("mlflow"):
        raise ConfigurationError("mlflow is not installed: pip install 'anomalyclip-med[tracking]'")
    logging.getLogger("monai.bundle.workflows").setLevel(logging.WARNING)  # it announces its own logging file
    run_bundle("anomalyclip_zero_shot", ["inference.json", "train.json"], output_dir=str(arguments.output), **options)
    return 0


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a whole detector into one file",
        description=_EXPORT,
        epilog=_EXPORT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("output", type=Path, metavar="OUT", help="file ending in .safetensors, .onnx, .pt2 or .ts")
    _add_model(export)
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.exports import export_detector
    from anomalyclip_med.factory import create_model

    print(export_detector(create_model(**{"prompts": "auto", **_chosen(arguments, ())}), arguments.output))
    return 0


def _add_calibrate(commands: Any) -> None:
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
    return 0


def _device(text: str) -> str:
    import torch

    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used: {str(error).splitlines()[0]}") from None
    return text


def _integers(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def _window(text: str) -> str | list[float] | list[str | list[float]]:
    if "+" in text:
        return [_one_window(part) for part in text.split("+")]
    return _one_window(text)


def _one_window(text: str) -> str | list[float]:
    if "," not in text:
        return text
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not CENTRE,WIDTH") from None


if __name__ == "__main__":
    sys.exit(main())
