"""What makes an object say nothing of whom it shows: replaced UIDs, no dates, and the marks that say so.

Attributes are not removed one by one: :func:`~anomalyclip_med.writers.dicom.sources.read_sources` takes only those
that describe the picture. This is the Basic Profile of PS3.15 E in spirit, without its options.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from anomalyclip_med import __version__

_NO_DATE, _NO_TIME = "19000101", "000000"


def replaced_uid(uid: str) -> str:
    """Return the UID that always stands for another one, so that objects of one study still belong together.

    Who has the original UID can tell that it belongs to the new one; nobody can go the other way.
    """
    return str(generate_uid(entropy_srcs=["anomalyclip_med", "de-identified", uid]))


def mark_deidentified(header: Dataset) -> None:
    """Say in a header that identity was removed and how (PS3.3 C.7.1.1)."""
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = f"anomalyclip_med {__version__}: whitelist, UIDs hashed, no dates"


def remove_dates(dataset: Dataset) -> None:
    """Take out when an object was made, which may be the day of the examination; dummies where there must be a date."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"):
        dataset.pop(keyword, None)
    for item in dataset.get("ContributingEquipmentSequence", []):
        item.pop("ContributionDateTime", None)
    if "ContentDate" in dataset:
        dataset.ContentDate, dataset.ContentTime = _NO_DATE, _NO_TIME
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
