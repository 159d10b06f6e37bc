"""Results as DICOM objects: parametric map, segmentation, secondary captures, structured report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anomalyclip_med.writers.dicom.origin import DicomOutput

if TYPE_CHECKING:
    from anomalyclip_med.writers.dicom.outputs import write_dicom

__all__ = ["DicomOutput", "write_dicom"]


def __getattr__(name: str) -> Any:
    # highdicom takes half a second to import, for which a run without DICOM objects should not wait.
    if name == "write_dicom":
        from anomalyclip_med.writers.dicom.outputs import write_dicom

        return write_dicom
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
