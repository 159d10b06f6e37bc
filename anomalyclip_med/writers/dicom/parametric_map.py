"""The anomaly map as Parametric Map (PS3.3 A.75): float32, where the slices lie in the patient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.enum import VOILUTFunctionValues
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.writers.dicom.codes import ANOMALY_SCORE, CODING_SCHEME, anatomic_region
from anomalyclip_med.writers.dicom.multiframe import refer_to_sources, scored_frames
from anomalyclip_med.writers.dicom.origin import PRODUCT, DicomOutput, Origin
from anomalyclip_med.writers.dicom.sources import Sources

_NOT_SCORED = -1.0
"""Stands for NaN in slices that are scored in part; FloatPixelPaddingValue says so."""


def parametric_maps(
    scan: DicomScan, sources: Sources, origin: Origin, anomaly_map: np.ndarray
) -> Iterator[tuple[str, Dataset]]:
    """Make one object per time point.

    Args:
        scan: the scan.
        sources: its acquired frames.
        origin: of the map.
        anomaly_map: of ``scan.shape``, float32 in [0, 1], NaN where nothing was scored.

    Yields:
        What the file's name ends with, and the object.

    Raises:
        ScanError: see :func:`~anomalyclip_med.writers.dicom.multiframe.scored_frames`.
    """
    for frames in scored_frames(scan, sources, anomaly_map, bits=32):
        missing = bool(np.isnan(frames.values.min()))
        values = np.where(np.isnan(frames.values), np.float32(_NOT_SCORED), frames.values) if missing else frames.values
        image = ParametricMap(
            source_images=frames.headers,
            pixel_array=values.astype(np.float32, copy=False),
            **origin.arguments(DicomOutput.PARAMETRIC_MAP, frames.number),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label="ANOMALY_SCORE",
                    lut_explanation=f"{origin.untrained}anomaly score, 0 normal to 1 abnormal",
                    unit=codes.UCUM.NoUnits,
                    value_range=(0.0, 1.0),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=ANOMALY_SCORE,
                )
            ],
            # The plain LINEAR function cannot have a width below 1 and loses half a unit (PS3.3 C.11.2.1.2).
            voi_lut_transformations=[
                VOILUTTransformation(
                    window_center=0.5, window_width=1.0, voi_lut_function=VOILUTFunctionValues.LINEAR_EXACT
                )
            ],
            content_label="ANOMALY_MAP",
            content_description=f"{origin.untrained}{origin.algorithm} anomaly map, 0 normal to 1 abnormal",
            content_creator_name=f"{PRODUCT}^",
            coding_schemes=[CODING_SCHEME],
        )
        _add_anatomy(image, str(frames.headers[0].get("BodyPartExamined", "")))
        if missing:
            image.FloatPixelPaddingValue = image.FloatPixelPaddingRangeLimit = _NOT_SCORED
        refer_to_sources(image, scan, sources, origin, "pm", str(frames.number))
        _order_along_normal(image)
        yield frames.suffix, image


def _add_anatomy(image: Dataset, body_part: str) -> None:
    """Add the Frame Anatomy functional group (PS3.3 C.7.6.16.2.8), without which dcmqi refuses the object."""
    anatomy = Dataset()
    anatomy.AnatomicRegionSequence = [anatomic_region(body_part)]
    anatomy.FrameLaterality = "U"
    image.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]


def _order_along_normal(image: Dataset) -> None:
    """Store the frames in rising order along the slices' normal, the cross product of row and column.

    highdicom stores them the other way, and dcmqi then reads the volume mirrored.
    """
    groups = list(image.PerFrameFunctionalGroupsSequence)
    orientation = image.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    normal = np.cross(orientation[:3], orientation[3:])
    first, last = (
        np.array(g.PlanePositionSequence[0].ImagePositionPatient, dtype=float) for g in (groups[0], groups[-1])
    )
    if (last - first) @ normal >= 0:
        return
    groups.reverse()
    for number, group in enumerate(groups, 1):
        group.FrameContentSequence[0].DimensionIndexValues = number
    image.PerFrameFunctionalGroupsSequence = groups
    pixels = np.frombuffer(image.FloatPixelData, dtype=np.float32).reshape(len(groups), -1)
    image.FloatPixelData = pixels[::-1].tobytes()
