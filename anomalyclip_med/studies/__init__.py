"""Studies: trainings and evaluations by a plan, and figures beside those that were published."""

from anomalyclip_med.studies.comparison import compare

__all__ = ["compare"]
