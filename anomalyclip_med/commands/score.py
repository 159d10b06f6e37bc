"""The command ``anomalyclip-med score``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from anomalyclip_med.commands.arguments import RUNNING, add_model, add_running, chosen, positive

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


def add_score(commands: Any) -> None:
    """Add the command to the subparsers of ``anomalyclip-med``."""
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
    add_model(score, whole=True)
    add_running(score)
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


def _score(arguments: argparse.Namespace) -> int:
    from anomalyclip_med.bundle import run_bundle
    from anomalyclip_med.inferers import IncompleteRunError

    names = (
        *RUNNING,
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
            **chosen(arguments, names),
        )
    except IncompleteRunError as error:
        print(f"anomalyclip-med: {error}", file=sys.stderr)
        return 1
    return 0


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
