"""Wiring of MONAI's engines: handlers and the checks that a bundle runs first."""

from anomalyclip_med.data.datalist import datalist_name
from anomalyclip_med.engines.evaluation import evaluation_items
from anomalyclip_med.engines.handlers import ScanWriter, SliceProgress, make_output_dir
from anomalyclip_med.engines.metrics import MetricsWriter
from anomalyclip_med.engines.overrides import check_overrides

__all__ = [
    "MetricsWriter",
    "ScanWriter",
    "SliceProgress",
    "check_overrides",
    "datalist_name",
    "evaluation_items",
    "make_output_dir",
]
