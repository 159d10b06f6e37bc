"""What an object is, from the few header elements that decide what happens to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

_MAKER = "anomalyclip_med"
"""In Manufacturer or ManufacturerModelName of all objects that this package makes."""

# Objects with rows and columns that are results, not scans.
_DERIVED = {
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
}

_TEXTS = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("Manufacturer", "ManufacturerModelName"),
]


@dataclass(frozen=True)
class Identity:
    """Of one object.

    Attributes:
        sop_class: SOPClassUID.
        instance: SOPInstanceUID.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        own: this package has made it.
        image: it has pixels and is no map, segmentation or dose.
    """

    sop_class: str
    instance: str
    study: str
    series: str
    own: bool
    image: bool

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> Identity:
        """Look at a data set.

        Raises:
            ValueError: it lacks an identifier.
        """
        sop_class, instance, study, series, *makers = [str(dataset.get(k) or "").strip() for k in _TEXTS]
        if not (sop_class and instance and study and series):
            raise ValueError("an identifier of the object is missing")
        image = "Rows" in dataset and sop_class not in _DERIVED
        return cls(sop_class, instance, study, series, own=any(_MAKER in maker for maker in makers), image=image)

    @classmethod
    def of_file(cls, path: Path) -> Identity:
        """Look at a file, without its pixels.

        Raises:
            ValueError: it lacks an identifier.
            Exception: whatever pydicom raises for a damaged file.
        """
        return cls.of_dataset(dcmread(path, stop_before_pixels=True, specific_tags=[*_TEXTS, "Rows"]))
