"""Results in formats that viewers and spreadsheets open."""

from anomalyclip_med.writers.nifti import MapFile
from anomalyclip_med.writers.overlay import write_map_png, write_overlay_png
from anomalyclip_med.writers.report import StudyReport, write_index
from anomalyclip_med.writers.scores import scores_table, write_map_sidecar, write_scores_csv, write_scores_json

__all__ = [
    "MapFile",
    "StudyReport",
    "scores_table",
    "write_index",
    "write_map_png",
    "write_map_sidecar",
    "write_overlay_png",
    "write_scores_csv",
    "write_scores_json",
]
