"""The anomaly map as Segmentation (PS3.3 A.51): binary at a threshold, or the scores themselves as fractions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.writers.dicom.multiframe import refer_to_sources, scored_frames
from anomalyclip_med.writers.dicom.origin import PRODUCT, DicomOutput, Origin
from anomalyclip_med.writers.dicom.sources import Sources


def segmentations(
    scan: DicomScan, sources: Sources, origin: Origin, anomaly_map: np.ndarray, threshold: float | None
) -> Iterator[tuple[str, Dataset]]:
    """Make one object per time point, with a frame for each slice that was scored, also where nothing was found.

    Args:
        scan: the scan.
        sources: its acquired frames.
        origin: of the map.
        anomaly_map: of ``scan.shape``, float32 in [0, 1], NaN where nothing was scored.
        threshold: the segment is where the map is no less; without it, the segment's probability is the map in 255
            steps.

    Yields:
        What the file's name ends with, and the object.

    Raises:
        ScanError: see :func:`~anomalyclip_med.writers.dicom.multiframe.scored_frames`.
    """
    binary = threshold is not None
    rule = f"map >= {threshold:g}" if binary else "map, not thresholded"
    parts = ("seg", "fractional" if threshold is None else repr(threshold))
    segment = SegmentDescription(
        segment_number=1,
        segment_label=f"{origin.untrained}Anomaly",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=origin.algorithm,
            family=codes.DCM.ArtificialIntelligence,
            version=origin.version,
            source=PRODUCT,
            parameters={**origin.parameters, "segment": rule},
        ),
    )
    for frames in scored_frames(scan, sources, anomaly_map, bits=1 if binary else 8):
        with np.errstate(invalid="ignore"):  # NaN is below any threshold
            pixels = (frames.values >= threshold).astype(np.uint8) if binary else np.nan_to_num(frames.values)
        image = Segmentation(
            source_images=frames.headers,
            pixel_array=pixels,
            segmentation_type=SegmentationTypeValues.BINARY if binary else SegmentationTypeValues.FRACTIONAL,
            fractional_type=SegmentationFractionalTypeValues.PROBABILITY,
            segment_descriptions=[segment],
            **origin.arguments(DicomOutput.SEGMENTATION, frames.number, *parts[1:]),
            # A slice without a frame is one that was not scored.
            omit_empty_frames=False,
            content_label="ANOMALY",
            content_description=f"{origin.untrained}{origin.algorithm} {rule}",
            content_creator_name=f"{PRODUCT}^",
        )
        refer_to_sources(image, scan, sources, origin, *parts, str(frames.number))
        yield frames.suffix, image
