"""Studies: figures beside those that were published."""

from anomalyclip_med.studies.comparison import compare
from anomalyclip_med.studies.published import PublishedFigure, published_figures

__all__ = ["PublishedFigure", "compare", "published_figures"]
