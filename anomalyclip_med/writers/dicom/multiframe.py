"""What parametric maps and segmentations have in common: one frame per acquired slice, where it lies in the patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.errors import ScanError
from anomalyclip_med.writers.dicom.origin import Origin
from anomalyclip_med.writers.dicom.sources import Reference, Sources

_MAX_ELEMENT_BYTES = 2**32 - 2
"""Of an element with an explicit 32-bit length (PS3.5 7.1.1)."""

_NO_VOLUME = (
    "no-regular-volume: each frame of the DICOM map and segmentation is in its place, but they make no regular volume, "
    "and programs that take them for one put them elsewhere"
)


@dataclass(frozen=True)
class Frames:
    """The scored slices of one time point.

    Attributes:
        number: of the time point, from 1.
        suffix: of the file name, empty where there is one time point.
        headers: one per slice.
        values: (slices, rows, columns) float32, a view of the map where all slices are scored.
    """

    number: int
    suffix: str
    headers: list[Dataset]
    values: np.ndarray


def scored_frames(scan: DicomScan, sources: Sources, anomaly_map: np.ndarray, bits: int) -> Iterator[Frames]:
    """Yield the acquired slices of each time point that have at least one scored pixel.

    Args:
        scan: the scan.
        sources: its frames.
        anomaly_map: of ``scan.shape``, NaN where nothing was scored.
        bits: of a stored pixel.

    Raises:
        ScanError: the frames have no place in the patient, nothing was scored, or the object would be too large.
    """
    if reason := unplaced(scan, sources):
        raise ScanError(
            f"{sources.path}: its map has no place in the patient, as {reason}; secondary captures and NIfTI are "
            "available"
        )
    depth = scan.shape[2]
    times = anomaly_map.reshape(*scan.shape[:3], -1)
    empty = True
    for time in range(times.shape[3]):
        values = times[..., time].transpose(2, 1, 0)
        headers = sources.headers[time * depth : (time + 1) * depth]
        scored = [place for place in range(depth) if not np.isnan(values[place]).all()]
        if not scored:
            continue
        empty = False
        if len(scored) < depth:
            values, headers = values[scored], tuple(headers[place] for place in scored)
        if values.size * bits / 8 > _MAX_ELEMENT_BYTES:
            raise ScanError(f"{sources.path}: its map is over 4 GiB, more than DICOM can hold; NIfTI is available")
        suffix = f"_t{time + 1:02d}" if times.shape[3] > 1 else ""
        yield Frames(time + 1, suffix, list(headers), values)
    if empty:
        raise ScanError(f"{sources.path}: no slice of it was scored")


def unplaced(scan: DicomScan, sources: Sources) -> str:
    """Return why the frames make no object that has a place in the patient, empty where they do."""
    references = {header.get("FrameOfReferenceUID") for header in sources.headers}
    if None in references:
        return "it has no FrameOfReferenceUID"
    if len(references) > 1:
        return "its slices lie in different frames of reference"
    if not all("ImagePositionPatient" in header for header in sources.headers):
        return "not every slice has a position and an orientation"
    if "PixelSpacing" not in sources.headers[0]:
        return "it has no PixelSpacing"
    depth = scan.shape[2]
    positions = np.array([header.ImagePositionPatient for header in sources.headers], dtype=float)
    if len(np.unique(positions[:depth].round(3), axis=0)) < depth:
        return "some of its positions occur more often than others"
    return ""


def refer_to_sources(image: Dataset, scan: DicomScan, sources: Sources, origin: Origin, *parts: str) -> None:
    """Make a finished object refer to the files and frames that its headers stand for, and its UIDs repeatable.

    Frames that make no regular volume, behind a tilted gantry or with gaps, become a warning of the scan.

    Args:
        image: a parametric map or a segmentation; changed in place.
        scan: the scan.
        sources: its frames.
        origin: makes the UID of its dimensions.
        parts: what tells the object from others of the same origin.
    """
    for item in image.SourceImageSequence:
        _replace(item, sources.reference(item.ReferencedSOPInstanceUID), frames=False)
    unique = {item.ReferencedSOPInstanceUID: item for item in image.SourceImageSequence}
    image.SourceImageSequence = list(unique.values())
    image.ReferencedSeriesSequence[0].ReferencedInstanceSequence = list(unique.values())
    for groups in image.PerFrameFunctionalGroupsSequence:
        for derivation in groups.DerivationImageSequence:
            for item in derivation.SourceImageSequence:
                _replace(item, sources.reference(item.ReferencedSOPInstanceUID), frames=True)
    if image.NumberOfFrames > 1 and image.get("DimensionOrganizationType") != "3D" and _NO_VOLUME not in scan.warnings:
        scan.warnings.append(_NO_VOLUME)
    dimensions = origin.uid("dimensions", *parts)
    for item in (*image.DimensionOrganizationSequence, *image.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions


def _replace(item: Dataset, reference: Reference, frames: bool) -> None:
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class, reference.instance
    if frames and reference.frame is not None:
        item.ReferencedFrameNumber = reference.frame
