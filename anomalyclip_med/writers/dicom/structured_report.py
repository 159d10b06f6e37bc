"""The scores as Structured Report after TID 1500 (PS3.16): of the series, and of each slice with its source image."""

from __future__ import annotations

import hashlib
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.errors import ScanError
from anomalyclip_med.inferers import ScanResult
from anomalyclip_med.writers.dicom.codes import ANOMALY_SCORE, CODING_SCHEME
from anomalyclip_med.writers.dicom.origin import PRODUCT, DicomOutput, Origin
from anomalyclip_med.writers.dicom.sources import Sources


def structured_report(scan: DicomScan, sources: Sources, origin: Origin, result: ScanResult) -> Dataset:
    """Make the report of a scan.

    The first measurement group is that of the series, the others those of the slices that were scored, in slice
    order. A slice that cuts through the acquired ones refers to none of them. Where the records of ``result`` have a
    ``percentile``, from 0 to 100, it stands beside the score.

    Args:
        scan: the scan.
        sources: its acquired frames.
        origin: of the scores.
        result: the scores.

    Raises:
        ScanError: no slice was scored.
    """
    record = result.record()
    if record["score"] is None:
        raise ScanError(f"{sources.path}: no slice of it was scored")
    algorithm = AlgorithmIdentification(
        name=origin.algorithm,
        version=origin.version,
        parameters=[f"{name}={value}" for name, value in origin.parameters.items()],
        manufacturer=f"The {PRODUCT} authors",
    )
    groups = [_group(origin, algorithm, "series", record)]
    for entry in record["slices"]:
        if entry["score"] is not None:
            numbers = scan.sources_of(entry["slice"])
            images = [_source_image(sources, numbers[0])] if len(numbers) == 1 else None
            groups.append(_group(origin, algorithm, f"slice {entry['slice']}", entry, images))
    unscored = sum(entry["score"] is None for entry in record["slices"])
    device = DeviceObserverIdentifyingAttributes(
        uid=origin.uid("device"),
        name=f"{origin.untrained}{PRODUCT}",
        manufacturer_name=f"The {PRODUCT} authors",
        model_name=PRODUCT,
        serial_number=origin.model,
    )
    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    evidence = _evidence(sources)
    report = ComprehensiveSR(
        evidence=list(evidence.values()),
        content=content,
        **origin.arguments(DicomOutput.STRUCTURED_REPORT, 1, _digest_of(record)),
        is_complete=not unscored,
        is_final=False,
        is_verified=False,
        coding_schemes=[CODING_SCHEME],
    )
    if unscored:
        report.CompletionFlagDescription = f"{unscored} of {len(record['slices'])} slices could not be scored"
    classes = {r.instance: r.sop_class for r in sources.references}
    for study in report.CurrentRequestedProcedureEvidenceSequence:
        for series in study.ReferencedSeriesSequence:
            for item in series.ReferencedSOPSequence:
                item.ReferencedSOPClassUID = classes[item.ReferencedSOPInstanceUID]
    return report


def _digest_of(record: dict[str, Any]) -> str:
    """What tells reports of one scan apart: percentiles of another calibration, slices that could not be scored."""
    told = [(entry.get("percentile"), entry["score"] is None) for entry in (record, *record["slices"])]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _evidence(sources: Sources) -> dict[str, Dataset]:
    """Return a header for each instance, by its true SOPInstanceUID."""
    evidence: dict[str, Dataset] = {}
    for header, reference in zip(sources.headers, sources.references, strict=True):
        if reference.instance not in evidence:
            evidence[reference.instance] = item = Dataset()
            item.update(header)
            item.SOPInstanceUID = reference.instance
    return evidence


def _group(
    origin: Origin,
    algorithm: AlgorithmIdentification,
    name: str,
    record: dict[str, Any],
    images: list[SourceImageForMeasurementGroup] | None = None,
) -> MeasurementsAndQualitativeEvaluations:
    measurements = [Measurement(name=ANOMALY_SCORE, value=record["score"], unit=codes.UCUM.NoUnits)]
    if record.get("percentile") is not None:
        measurements.append(
            Measurement(
                name=codes.DCM.PercentileRankingOfMeasurement, value=record["percentile"], unit=codes.UCUM.Percent
            )
        )
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=origin.uid("tracking", name), identifier=name),
        algorithm_id=algorithm,
        measurements=measurements,
        source_images=images,
    )


def _source_image(sources: Sources, number: int) -> SourceImageForMeasurementGroup:
    reference = sources.references[number]
    return SourceImageForMeasurementGroup(
        referenced_sop_class_uid=reference.sop_class,
        referenced_sop_instance_uid=reference.instance,
        referenced_frame_numbers=None if reference.frame is None else [reference.frame],
    )
