"""Checks at the start what would otherwise fail with every study: the options that go to ``score``."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anomalyclip_med.errors import AnomalyClipMedError, ConfigurationError
from anomalyclip_med.pacs import credentials

_DEFAULT_DICOM = "pm,sr"

_CHECKED = ("window", "empty_below", "aggregation", "calibration", "dicom", "threshold", "top_slices")
_RESULTS = "RESULTS-OF-THE-STUDY"


def score_options(text: str, dicom: str, parse: Callable[[list[str]], argparse.Namespace]) -> list[str]:
    """Split and check the options of ``score``.

    Values are checked by what the run itself is made of, in a process that ends: the service does without the
    libraries, and the memory, that scoring needs.

    Args:
        text: the options as on a command line.
        dicom: kinds of DICOM objects, if the options do not name others.
        parse: parses them, after a PATH and an output folder; ends the program if these are no options of ``score``.

    Raises:
        ConfigurationError: an option cannot be used, or is the service's own affair.
    """
    try:
        options = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"--score-options={text!r}: {error}") from None
    parsed = parse([f"--output={_RESULTS}", "--dicom", dicom, *options])
    if parsed.output != Path(_RESULTS) or len(parsed.paths) != 1:
        raise ConfigurationError("--score-options: no -o, --output or PATH: each study has its own")
    if not parsed.dicom.strip(","):
        raise ConfigurationError("--dicom names no kind of object, so there would be nothing to store")
    values = {name: getattr(parsed, name) for name in _CHECKED if getattr(parsed, name) is not None}
    if values != {"dicom": _DEFAULT_DICOM}:
        _check_aside(values)
    return options


def _check_aside(values: dict[str, Any]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(values)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=credentials.environment(),
        check=False,
    )
    if run.returncode:
        reason = run.stderr.strip().splitlines() or [f"the check ended with status {run.returncode}"]
        raise ConfigurationError(f"options of 'score': {reason[-1]}")


def check_values(
    *,
    aggregation: str = "max",
    calibration: str | None = None,
    threshold: str | None = None,
    dicom: str = _DEFAULT_DICOM,
    top_slices: int = 3,
    **reading: Any,
) -> None:
    """Make the parts of a run that look at their values.

    Args:
        aggregation: as for ``score``, like all others.
        calibration: a file.
        threshold: of the segmentation.
        dicom: kinds of objects.
        top_slices: a number.
        reading: window and empty_below.

    Raises:
        ConfigurationError: a value cannot be used.
    """
    from anomalyclip_med.engines import ScanWriter
    from anomalyclip_med.inferers import RunResults, map_threshold, read_calibration
    from anomalyclip_med.transforms import LoadSliced

    normals = read_calibration(calibration)
    results = RunResults([], [], normals, aggregation)
    load = LoadSliced("image", **reading)
    limit = map_threshold(threshold, normals)
    ScanWriter(results, _RESULTS, load, {}, top_slices=top_slices, dicom=dicom, threshold=limit)


if __name__ == "__main__":
    try:
        check_values(**json.loads(sys.argv[1]))
    except AnomalyClipMedError as error:
        sys.exit(str(error))
