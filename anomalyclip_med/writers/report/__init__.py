"""What a run found as web pages: one self-contained file per study and an index over them."""

from anomalyclip_med.writers.report.index import write_index
from anomalyclip_med.writers.report.study import StudyReport

__all__ = ["StudyReport", "write_index"]
