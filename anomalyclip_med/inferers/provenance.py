"""Where a score comes from: versions, weights and settings."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from anomalyclip_med import __version__
from anomalyclip_med.networks import AnomalyCLIP

UNTRAINED_NOTICE = "UNTRAINED: random weights or prompts; scores and maps mean nothing"


def provenance(detector: AnomalyCLIP, **settings: Any) -> dict[str, Any]:
    """Collect what is needed to make a result again.

    Args:
        detector: the detector that scored.
        settings: settings of the run that do not belong to the detector, such as the window.

    Returns:
        Plain values, fit for JSON.
    """
    packages = ("torch", "monai", "open_clip_torch", "numpy", "pydicom", "nibabel", "SimpleITK")
    return {
        "package": "anomalyclip_med",
        "version": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "trained": detector.trained,
        "notice": None if detector.trained else UNTRAINED_NOTICE,
        "model": detector.describe(),
        "settings": settings,
        "warnings": list(detector.warnings),
    }
