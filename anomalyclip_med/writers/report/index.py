"""The page over all studies of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anomalyclip_med.data import SkippedFile
from anomalyclip_med.writers.report.pages import write_page


def write_index(
    path: Path, studies: Sequence[dict[str, Any]], provenance: dict[str, Any], skipped: Sequence[SkippedFile]
) -> None:
    """Write the page that lists all studies, highest score first; those without a score come last.

    Args:
        path: of the page.
        studies: records as `RunResults.studies` gives them. One may have a ``report``, the path of its page relative
            to this page, and a ``percentile`` among the user's normals, 0 to 100, as may its series.
        provenance: see :func:`anomalyclip_med.inferers.provenance`.
        skipped: files that belong to no scan.

    Examples:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from anomalyclip_med.inferers import RunResults
        >>> from anomalyclip_med.writers import write_index
        >>> Image.fromarray(np.zeros((8, 8), np.uint8)).save("a.png")
        >>> results = RunResults.of_paths("a.png")
        >>> made = {"package": "anomalyclip_med", "version": "0.1.0", "notice": "UNTRAINED", "warnings": []}
        >>> made["model"] = {"clip": "untrained", "prompts": None}
        >>> write_index(Path("index.html"), results.studies(), made, results.skipped)
        >>> "UNTRAINED" in Path("index.html").read_text()
        True
    """
    ranked = sorted(studies, key=lambda study: -1.0 if study["score"] is None else study["score"], reverse=True)
    write_page(
        path,
        "index.html",
        None,
        provenance,
        studies=[{**study, "link": quote(study["report"]) if study.get("report") else None} for study in ranked],
        # A folder of thousands of notes is no news, one unreadable scan is.
        unreadable=[file for file in skipped if file.unreadable],
        skipped=[file for file in skipped if not file.unreadable],
    )
