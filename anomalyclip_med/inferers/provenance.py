"""Where a score comes from: versions, weights and settings."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from anomalyclip_med import __version__
from anomalyclip_med.inferers.calibration import Calibration
from anomalyclip_med.networks import Detector

UNTRAINED_NOTICE = "UNTRAINED: random weights or prompts; scores and maps mean nothing"


def provenance(detector: Detector, calibration: Calibration | None = None, **settings: Any) -> dict[str, Any]:
    """Collect what is needed to make a result again.

    Args:
        detector: the detector that scored.
        calibration: what the scores are compared with.
        settings: settings of the run that do not belong to the detector, such as the window.

    Returns:
        Plain values, fit for JSON.

    Raises:
        ConfigurationError: the calibration is of another model or of other settings.

    Examples:
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.inferers import provenance
        >>> record = provenance(create_model("untrained", image_size=70), window="brain")
        >>> record["notice"]
        'UNTRAINED: random weights or prompts; scores and maps mean nothing'
        >>> record["model"]["image_size"], record["settings"]
        (70, {'window': 'brain'})
    """
    packages = ("torch", "monai", "open_clip_torch", "numpy", "pydicom", "nibabel", "SimpleITK")
    record = {
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
    if calibration:
        calibration.check(record)
        record["calibration"] = calibration.describe()
    return record
