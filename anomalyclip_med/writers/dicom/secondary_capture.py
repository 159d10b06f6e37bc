"""Slices under their maps as Secondary Captures (PS3.3 A.8.1), for viewers without maps and scans without a place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from highdicom.enum import CoordinateSystemNames, PhotometricInterpretationValues
from highdicom.sc import SCImage
from highdicom.spatial import get_closest_patient_orientation
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.errors import ScanError
from anomalyclip_med.transforms import LoadSliced
from anomalyclip_med.writers.dicom.origin import DicomOutput, Origin
from anomalyclip_med.writers.dicom.sources import Sources
from anomalyclip_med.writers.overlay import blend

_MEASURED = {"CT", "MR", "PT"}
"""Modalities whose pictures are made of measured values."""


def secondary_captures(
    scan: DicomScan,
    sources: Sources,
    origin: Origin,
    anomaly_map: np.ndarray,
    load: LoadSliced,
    slices: Iterable[int],
) -> Iterator[tuple[str, Dataset]]:
    """Make one object per slice, all in one series; nothing is written into the pictures.

    A slice that cannot be read any more is left out with a warning of the scan.

    Args:
        scan: the scan.
        sources: its acquired frames. If they are de-identified, all but the region of the image is black.
        origin: of the map.
        anomaly_map: of ``scan.shape``, in [0, 1]; the colours always stand for this range.
        load: reads the windowed slices.
        slices: numbers in ``scan.slices``.

    Yields:
        What the file's name ends with, and the object.

    Raises:
        ScanError: the sources are de-identified, and there may be names in the pictures.
    """
    # A region tells where the image is, and not that there is no text in it: it does not outweigh a YES.
    measured = sources.measured and scan.modality in _MEASURED
    ruled_out = sources.burned_in == "NO" or measured or scan.region is not None
    if sources.deidentified and (sources.burned_in == "YES" or not ruled_out):
        raise ScanError(
            f"{sources.path}: names may be part of its pictures, which no header denies, so there are no de-identified "
            "secondary captures of it"
        )
    for index in slices:
        try:
            picture = load.read(scan, index).numpy().transpose(1, 2, 0)
        except ScanError as error:  # it could be read a moment ago
            scan.warnings.append(scan.show(f"capture-missing: slice {index}: {error}"))
            continue
        values = scan.slice_view(anomaly_map, index)
        if sources.deidentified and scan.region is not None:
            top, bottom, left, right = scan.region
            inside = np.zeros(values.shape, dtype=bool)
            inside[top:bottom, left:right] = True
            picture, values = picture * inside[..., np.newaxis], np.where(inside, values, np.float32(0))
        yield f"_{index:04d}", _capture(scan, sources, origin, blend(picture, values), index)


def _capture(scan: DicomScan, sources: Sources, origin: Origin, pixels: np.ndarray, index: int) -> Dataset:
    numbers = scan.sources_of(index)
    header = sources.headers[numbers[0]]
    affine = scan.slice_affine(index)
    placed = "ImagePositionPatient" in header
    image = SCImage.from_ref_dataset(
        ref_dataset=header,
        pixel_array=pixels,
        photometric_interpretation=PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        **origin.arguments(DicomOutput.SECONDARY_CAPTURE, index + 1),
        patient_orientation=_patient_orientation(affine) if placed else ("L", "P"),
        transfer_syntax_uid=RLELossless,
    )
    image.copy_patient_and_study_information(header)
    # Empty where the part has no sides, which the headers do not tell (PS3.3 C.7.3.1.1.1).
    image.Laterality = None
    row, column = np.linalg.norm(affine[:3, :2], axis=0)
    if placed:
        image.PixelSpacing = [f"{row:.8g}", f"{column:.8g}"]
    else:
        # highdicom demands an orientation, where the standard lets it be empty (PS3.3 C.7.6.1.1.1).
        image.PatientOrientation = None
        if not np.isclose(row, column, rtol=1e-3):
            image.PixelAspectRatio = [round(1000 * row / column), 1000]
    if sources.burned_in:
        image.BurnedInAnnotation = sources.burned_in
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in header:
            image[keyword] = header[keyword]
    image.DerivationDescription = f"{origin.untrained}{origin.algorithm} anomaly map over the slice, colours of 0 to 1"
    image.SourceImageSequence = _source_images(sources, numbers)
    return image


def _patient_orientation(affine: np.ndarray) -> tuple[str, str]:
    """Return where rows and columns run to, of a matrix from (row, column, slice) to RAS."""
    lps = affine[:3] * np.array([[-1.0], [-1.0], [1.0]])
    along_row, along_column = (lps[:, axis] / np.linalg.norm(lps[:, axis]) for axis in (1, 0))
    axes = np.stack([along_row, along_column, np.cross(along_row, along_column)], axis=1)
    directions = get_closest_patient_orientation(axes)
    return directions[0].value, directions[1].value


def _source_images(sources: Sources, numbers: range) -> list[Dataset]:
    items = {}
    for number in numbers:
        reference = sources.references[number]
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class, reference.instance
        item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)]
        if len(numbers) == 1:
            item.SpatialLocationsPreserved = "YES"
            if reference.frame is not None:
                item.ReferencedFrameNumber = reference.frame
        items[reference.instance] = item
    return list(items.values())
