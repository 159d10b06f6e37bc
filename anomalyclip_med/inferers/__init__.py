"""Slice-wise scoring of scans: what a run finds, and how slice scores become series and study scores."""

from anomalyclip_med.inferers.aggregation import aggregate, check_aggregation
from anomalyclip_med.inferers.calibration import (
    Calibration,
    MapThreshold,
    calibrate,
    map_threshold,
    read_calibration,
    write_calibration,
)
from anomalyclip_med.inferers.manifest import Manifest
from anomalyclip_med.inferers.provenance import provenance
from anomalyclip_med.inferers.results import IncompleteRunError, RunResults, ScanResult

__all__ = [
    "Calibration",
    "IncompleteRunError",
    "Manifest",
    "MapThreshold",
    "RunResults",
    "ScanResult",
    "aggregate",
    "calibrate",
    "check_aggregation",
    "map_threshold",
    "provenance",
    "read_calibration",
    "write_calibration",
]
