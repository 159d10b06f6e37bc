"""Readers: DICOM, NIfTI, NRRD, MetaImage and pictures become scans whose slices are read one at a time."""

from anomalyclip_med.data.discovery import SkippedFile, find_scans
from anomalyclip_med.data.scan import Scan
from anomalyclip_med.data.slicing import Plane

__all__ = ["Plane", "Scan", "SkippedFile", "find_scans"]
