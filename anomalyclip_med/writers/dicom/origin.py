"""Where an object comes from: the software, its settings, and UIDs that a second run makes again."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any

from pydicom.uid import generate_uid

from anomalyclip_med.inferers.calibration import comparable
from anomalyclip_med.writers.dicom.sources import Sources

PRODUCT = "anomalyclip_med"

_MAX_SERIES_NUMBER = 10**7
"""Of a source, beyond which its number says nothing; the results' numbers must fit 32 bits."""


class DicomOutput(StrEnum):
    """Kinds of DICOM objects."""

    PARAMETRIC_MAP = "pm"
    SEGMENTATION = "seg"
    SECONDARY_CAPTURE = "sc"
    STRUCTURED_REPORT = "sr"


_DESCRIPTIONS = {
    DicomOutput.PARAMETRIC_MAP: "anomaly map",
    DicomOutput.SEGMENTATION: "anomaly segmentation",
    DicomOutput.SECONDARY_CAPTURE: "anomaly overlays",
    DicomOutput.STRUCTURED_REPORT: "anomaly scores",
}


class Origin:
    """The sources and settings of the objects that are made of one scan.

    Args:
        sources: the frames.
        provenance: see :func:`anomalyclip_med.inferers.provenance`.

    Attributes:
        version: of the package.
        algorithm: name of the method.
        parameters: SHA-256 of each file of weights, and the notice if there is one.
        untrained: what the notice puts before descriptions, empty where there is none.
        model: first 16 hexadecimal digits of the SHA-256 of the model's description.
    """

    def __init__(self, sources: Sources, provenance: dict[str, Any]) -> None:
        model = provenance["model"]
        self.version: str = provenance["version"]
        self.algorithm: str = model.get("method", PRODUCT)
        self.parameters = {key: str(value) for key, value in model.items() if key.endswith("sha256") and value}
        if provenance["notice"]:
            self.parameters["notice"] = provenance["notice"]
        self.untrained = "UNTRAINED " if provenance["notice"] else ""
        self.model = _digest(model)[:16]
        self._key = _digest(
            [[r.instance, r.frame] for r in sources.references],
            [provenance["version"], comparable(provenance["model"], provenance["settings"])],
        )
        number = int(sources.headers[0].get("SeriesNumber") or 0)
        self._series_number = number if 0 < number < _MAX_SERIES_NUMBER else 99

    def uid(self, *parts: str) -> str:
        """Return the UID of a part of the results."""
        return str(generate_uid(entropy_srcs=[PRODUCT, self._key, *parts]))

    def arguments(self, kind: DicomOutput, number: int, *parts: str) -> dict[str, Any]:
        """Return what highdicom's constructors want to know of series, instance and equipment.

        Args:
            kind: objects of one kind make a series of their own.
            number: InstanceNumber, from 1.
            parts: settings of this kind alone, which tell its series apart.
        """
        return {
            "series_instance_uid": self.uid(kind, *parts),
            "series_number": self._series_number * 100 + 90 + list(DicomOutput).index(kind),
            "series_description": f"{self.untrained}{self.algorithm} {_DESCRIPTIONS[kind]}",
            "sop_instance_uid": self.uid(kind, *parts, str(number)),
            "instance_number": number,
            "manufacturer": f"The {PRODUCT} authors",
            "manufacturer_model_name": PRODUCT,
            "software_versions": self.version,
            "device_serial_number": self.model,
        }


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
