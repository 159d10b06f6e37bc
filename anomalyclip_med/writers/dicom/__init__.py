"""Results as DICOM objects: parametric map, segmentation, secondary captures, structured report."""

from anomalyclip_med.writers.dicom.origin import DicomOutput
from anomalyclip_med.writers.dicom.outputs import write_dicom

__all__ = ["DicomOutput", "write_dicom"]
