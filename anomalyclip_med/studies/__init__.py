"""Studies: figures beside those that were published."""

from anomalyclip_med.studies.published import PublishedFigure, published_figures

__all__ = ["PublishedFigure", "published_figures"]
