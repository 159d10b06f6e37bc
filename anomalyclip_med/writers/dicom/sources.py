"""The acquired frames of a scan as highdicom takes them: one plain header per frame, made of known attributes only.

Source files differ: single or multi-frame, retired classes, geometry in functional groups or with the detector,
malformed or missing elements. Here each acquired frame gets a header of its own as if it were a single CT image, with
a number in place of its SOPInstanceUID. :meth:`Sources.reference` tells afterwards what to refer to instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)
from pydicom.valuerep import DA, DS, TM, validate_value

from anomalyclip_med.data.dicom import DicomScan
from anomalyclip_med.data.dicom_geometry import Source
from anomalyclip_med.data.reading import reading
from anomalyclip_med.errors import ScanError
from anomalyclip_med.writers.dicom.deidentify import mark_deidentified, replaced_uid

_EMPTY_IF_MISSING = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID",
)  # fmt: skip
"""Type 2 of the Patient and General Study modules (PS3.3 C.7.1.1 and C.7.2.1)."""

_IDENTIFYING = (
    *_EMPTY_IF_MISSING, "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod", "StudyDescription", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber",
    "InstitutionName", "StationName", "SeriesNumber",
)  # fmt: skip
"""What is copied from a source, besides what describes the picture itself."""

_DESCRIPTIVE = (
    "Modality", "BodyPartExamined", "SliceThickness", "LossyImageCompression", "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)  # fmt: skip
"""What describes the picture and nobody."""

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_PICTURE = ("BurnedInAnnotation", "ImageType", "ConversionType")
_MEASURED = {
    CTImageStorage, EnhancedCTImageStorage, MRImageStorage, EnhancedMRImageStorage,
    PositronEmissionTomographyImageStorage, EnhancedPETImageStorage,
}  # fmt: skip
_ALLOWED = {
    "PatientSex": r"[MFO]",
    "PatientIdentityRemoved": r"YES|NO",
    "LossyImageCompression": r"00|01",
    "LossyImageCompressionMethod": r"ISO_[0-9_]+",
}
"""Values of elements that have but a few, so that nothing else gets through with them."""

_TEXT_VRS = {"CS", "LO", "PN", "SH"}
# Leading zeros are forbidden (PS3.5 9.1) but met, and a reference must repeat what the source says.
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Reference:
    """What a DICOM object refers to where a frame is meant.

    Attributes:
        sop_class: SOPClassUID.
        instance: SOPInstanceUID.
        frame: the frame's number from 1, None of a single-frame object.
    """

    sop_class: str
    instance: str
    frame: int | None


@dataclass(frozen=True)
class Sources:
    """The acquired frames of a scan.

    Attributes:
        path: the first file, for messages.
        headers: one per frame, in the order of ``scan.sources``.
        references: what each one stands for.
        burned_in: BurnedInAnnotation: YES if one file says so, NO if all files do, else empty.
        measured: all files are of a class whose pictures are made of measured values, and none is a capture or a
            derived picture, such as a dose report, which is of modality CT, too.
        deidentified: the headers hold nothing that identifies, and replaced UIDs.
    """

    path: Path
    headers: tuple[Dataset, ...]
    references: tuple[Reference, ...]
    burned_in: str
    measured: bool
    deidentified: bool

    def reference(self, placeholder: str) -> Reference:
        """Return what a header's SOPInstanceUID stands for."""
        return self.references[int(placeholder.rpartition(".")[2])]


def read_sources(scan: DicomScan, deidentify: bool) -> Sources:
    """Read the headers of all acquired frames.

    What is malformed is left out with a warning of the scan; what must not be missing, but may be empty, is empty.

    Args:
        scan: the scan.
        deidentify: keep only what describes the pictures, and replace all UIDs.

    Raises:
        ScanError: a file cannot be read any more, or lacks the UIDs of its instance, series or study.
    """
    path = scan.sources[0].instance.path
    keywords = _DESCRIPTIVE if deidentify else (*_IDENTIFYING, *_DESCRIPTIVE)
    first = _read(path, (*keywords, *_UIDS, *_PICTURE, "SpecificCharacterSet", "SharedFunctionalGroupsSequence"))
    with reading(path, "the DICOM headers cannot be read"):
        context, malformed = _context(first, keywords)
    if malformed:
        scan.warnings.append(f"malformed-header: {', '.join(malformed)} left out of the DICOM results")
    if "SliceThickness" not in context:
        distance = float(np.linalg.norm(scan.affine[:3, 2]))
        context.SliceThickness = DS(distance, auto_format=True)
        if scan.sources[0].frame.position is not None:
            scan.warnings.append(
                f"missing-slice-thickness: the DICOM results have the distance between slices for it, {distance:g} mm"
            )
    if deidentify:
        mark_deidentified(context)

    uids = {path: _uids(path, first, deidentify)}
    burned_in, measured = {_burned_in(path, first)}, _measured(path, first)
    headers, references = [], []
    for number, source in enumerate(scan.sources):
        file = source.instance.path
        if file not in uids:
            dataset = _read(file, (*_UIDS, *_PICTURE))
            uids[file] = _uids(file, dataset, deidentify)
            burned_in.add(_burned_in(file, dataset))
            measured = measured and _measured(file, dataset)
        header = _header(context, source, scan.sources[0], uids[file])
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"2.25.{number}"
        headers.append(header)
        frame = source.frame.number + 1 if len(source.instance.frames) > 1 else None
        references.append(Reference(uids[file]["SOPClassUID"], uids[file]["SOPInstanceUID"], frame))
    told = next((answer for answer in ("YES", "") if answer in burned_in), "NO")
    return Sources(path, tuple(headers), tuple(references), told, measured, deidentify)


def _read(path: Path, keywords: Iterable[str]) -> Dataset:
    with reading(path, "the DICOM headers cannot be read"):
        return dcmread(path, stop_before_pixels=True, specific_tags=list(keywords), force=True)


def _uids(path: Path, dataset: Dataset, deidentify: bool) -> dict[str, str]:
    meta = dataset.file_meta
    with reading(path, "the DICOM headers cannot be read"):
        found = {keyword: str(dataset.get(keyword) or "").strip() for keyword in _UIDS}
        found["SOPClassUID"] = found["SOPClassUID"] or str(meta.get("MediaStorageSOPClassUID", ""))
        found["SOPInstanceUID"] = found["SOPInstanceUID"] or str(meta.get("MediaStorageSOPInstanceUID", ""))
    for keyword, uid in found.items():
        if keyword != "FrameOfReferenceUID" and not _UID.fullmatch(uid):
            raise ScanError(
                f"{path}: its {keyword} is missing or malformed, so no DICOM object can refer to it; NIfTI is available"
            )
        if deidentify and keyword != "SOPClassUID" and uid:
            found[keyword] = replaced_uid(uid)
    return found


def _burned_in(path: Path, dataset: Dataset) -> str:
    with reading(path, "the DICOM headers cannot be read"):
        told = str(dataset.get("BurnedInAnnotation") or "").strip()
    return told if told in ("YES", "NO") else ""


def _measured(path: Path, dataset: Dataset) -> bool:
    with reading(path, "the DICOM headers cannot be read"):
        kind = f"{dataset.get('ImageType', '')}".upper()
        captured = "ConversionType" in dataset or "SECONDARY" in kind or "SCREEN" in kind
        return str(dataset.get("SOPClassUID", "")) in _MEASURED and not captured


def _header(context: Dataset, source: Source, first: Source, uids: dict[str, str]) -> Dataset:
    header = Dataset()
    header.update(context)
    header.Rows, header.Columns = source.instance.rows, source.instance.columns
    header.StudyInstanceUID, header.SeriesInstanceUID = uids["StudyInstanceUID"], uids["SeriesInstanceUID"]
    if _UID.fullmatch(uids["FrameOfReferenceUID"]):
        header.FrameOfReferenceUID = uids["FrameOfReferenceUID"]
    frame = first.frame
    if source.frame.position is not None and frame.orientation is not None:
        header.ImagePositionPatient = _decimals(source.frame.position)
        # Frames of one scan differ by rounding at most, and highdicom wants them equal.
        header.ImageOrientationPatient = _decimals([*frame.orientation[0], *frame.orientation[1]])
    if frame.spacing is not None:
        header.PixelSpacing = _decimals(frame.spacing)
    return header


def _decimals(values: Sequence[float]) -> list[DS]:
    return [DS(value, auto_format=True) for value in values]


def _context(dataset: Dataset, keywords: Sequence[str]) -> tuple[Dataset, list[str]]:
    """Return what the frames have in common, and what was malformed."""
    context, malformed = Dataset(), []
    # Whatever the source's encoding is, it is read by now.
    context.SpecificCharacterSet = "ISO_IR 192"
    for keyword in keywords:
        try:
            value = _value(dataset, keyword)
        except (ValueError, TypeError, OverflowError, NotImplementedError):
            malformed.append(keyword)
        else:
            if value not in (None, ""):
                setattr(context, keyword, value)
    for keyword in _EMPTY_IF_MISSING:
        if keyword not in context:
            setattr(context, keyword, None)
    if context.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in context:
        context.DeidentificationMethod = "not stated by the source"
    return context, malformed


def _value(dataset: Dataset, keyword: str) -> Any:
    """Return a checked value, decoded to text where it is text, None where there is none.

    Raises:
        ValueError: the standard (PS3.5 6.2) or highdicom forbids it.
    """
    if keyword == "SliceThickness":
        dataset = _pixel_measures(dataset)
    found = dataset.get(keyword)
    values = [v for v in (found if isinstance(found, MultiValue) else [found]) if v not in (None, "")]
    vr = dictionary_VR(keyword)
    if vr == "DS":  # some have more digits than the standard allows
        values = [DS(float(v), auto_format=True) for v in values]
    elif vr in _TEXT_VRS:
        values = [str(v).strip() for v in values]
    elif vr in ("DA", "TM"):
        values = [str((DA if vr == "DA" else TM)(v)) for v in values]
    for value in values:
        validate_value(vr, str(value), config.RAISE)
        if not re.fullmatch(_ALLOWED.get(keyword, ".*"), str(value)) or (keyword == "SliceThickness" and value <= 0):
            raise ValueError
    return values if len(values) > 1 else next(iter(values), None)


def _pixel_measures(dataset: Dataset) -> Dataset:
    for shared in dataset.get("SharedFunctionalGroupsSequence") or []:
        for measures in shared.get("PixelMeasuresSequence") or []:
            return measures
    return dataset
