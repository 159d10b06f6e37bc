"""De-identified objects say nothing of the patient, and still belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from anomalyclip_med.errors import ScanError
from anomalyclip_med.writers.dicom import DicomOutput
from tests.writers.dicom.conftest import dciodvfy_errors, only_scan, random_map, write
from tests.writers.dicom.test_objects import PLACED, uids

PM, SEG, SC, SR = DicomOutput
SENTINEL = "ZEBEDIAH"
SOURCE_UIDS = {"StudyInstanceUID": "1.2.77.1", "SeriesInstanceUID": "1.2.77.2", "FrameOfReferenceUID": "1.2.77.3"}
TEXTS = (
    "PatientName", "PatientID", "PatientComments", "OtherPatientNames", "StudyDescription", "SeriesDescription",
    "InstitutionName", "InstitutionAddress", "StationName", "AccessionNumber", "StudyID", "ReferringPhysicianName",
    "PerformingPhysicianName", "OperatorsName", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber",
    "SoftwareVersions", "ProtocolName", "ImageComments", "PositionReferenceIndicator", "IssuerOfPatientID",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID", "RequestingService",
    "BodyPartExamined", "ContentLabel", "DeidentificationMethod", "LossyImageCompressionMethod",
)  # fmt: skip
DATES = {
    "StudyDate": "19770321", "SeriesDate": "19770321", "AcquisitionDate": "19770321", "ContentDate": "19770321",
    "PatientBirthDate": "19770321", "StudyTime": "031415", "ContentTime": "031415",
    "AcquisitionDateTime": "19770321031415",
}  # fmt: skip


@pytest.fixture
def scan(tmp_path: Path, write_series):
    write_series(
        tmp_path / "in",
        **PLACED | SOURCE_UIDS | dict.fromkeys(TEXTS, SENTINEL) | DATES,
        PatientSex="F",
        PatientAge="045Y",
        PatientWeight="61.75",
        SeriesNumber=8131,
    )
    for path in (tmp_path / "in").iterdir():
        dataset = dcmread(path)
        dataset.private_block(0x0099, SENTINEL, create=True).add_new(1, "LO", SENTINEL)
        item = Dataset()
        item.PatientID = SENTINEL
        dataset.OtherPatientIDsSequence = [item]
        dataset.save_as(path)
    return only_scan(tmp_path / "in")


def test_nothing_identifies(scan, tmp_path: Path) -> None:
    written = write(scan, tmp_path / "out", threshold=0.5, deidentify=True)
    assert len(written) == 6
    sources = [dcmread(s.instance.path) for s in scan.sources]
    secrets = [SENTINEL, "19770321", "031415", "045Y", "61.75", "813190", *SOURCE_UIDS.values()]
    secrets += [s.SOPInstanceUID for s in sources]
    today = [dcmread(p).InstanceCreationDate for p in write(scan, tmp_path / "identified", kinds=(SR,))]
    for path in written:
        content = path.read_bytes()
        assert not [s for s in [*secrets, *today] if s.encode() in content or s.encode("utf-16-le") in content]
        assert not dciodvfy_errors(path)
        image = dcmread(path)
        assert (image.PatientName, image.PatientID, image.PatientSex, image.StudyDate) == ("", "", "", "")
        assert image.PatientIdentityRemoved == "YES"
        assert image.DeidentificationMethod.startswith("anomalyclip_med")
        assert image.LongitudinalTemporalInformationModified == "REMOVED"


def test_identified_objects_have_what_is_taken_out(scan, tmp_path: Path) -> None:
    """The sentinels do reach the writers."""
    for path in write(scan, tmp_path / "out"):
        content = path.read_bytes()
        assert all(s.encode() in content for s in (SENTINEL, "19770321", "1.2.77.1"))


def test_objects_of_a_study_belong_together(scan, tmp_path: Path, write_series) -> None:
    own = {str(dcmread(s.instance.path)[k].value) for s in scan.sources for k in ("SOPInstanceUID", *SOURCE_UIDS)}
    written = [dcmread(p) for p in write(scan, tmp_path / "out", deidentify=True)]
    elements = PLACED | SOURCE_UIDS | {"SeriesInstanceUID": "1.2.77.8"}
    write_series(tmp_path / "other", **elements)
    other = only_scan(tmp_path / "other")
    written += [dcmread(p) for p in write(other, tmp_path / "out2", deidentify=True)]
    (study,) = {w.StudyInstanceUID for w in written}
    assert UID(study).is_valid
    assert len({w.FrameOfReferenceUID for w in written if "FrameOfReferenceUID" in w}) == 1
    assert not own & {u for w in written for u in uids(w)}
    again = [dcmread(p) for p in write(scan, tmp_path / "again", deidentify=True)]
    assert [uids(w) for w in again] == [uids(w) for w in written[: len(again)]]
    identified = {u for p in write(scan, tmp_path / "identified") for u in uids(dcmread(p))}
    assert not identified & {w.SOPInstanceUID for w in written}


def test_geometry_and_values_survive(scan, tmp_path: Path) -> None:
    values = random_map(scan)
    plain, hidden = (
        dcmread(write(scan, tmp_path / name, values, (PM,), deidentify=hide)[0])
        for name, hide in (("plain", False), ("hidden", True))
    )
    assert plain.FloatPixelData == hidden.FloatPixelData
    for a, b in zip(plain.PerFrameFunctionalGroupsSequence, hidden.PerFrameFunctionalGroupsSequence, strict=True):
        assert a.PlanePositionSequence == b.PlanePositionSequence


def test_one_file_with_text_is_enough(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "in", **PLACED, BurnedInAnnotation="NO")
    scan = only_scan(tmp_path / "in")
    (first, *_) = write(scan, tmp_path / "clean", kinds=(SC,), deidentify=True)
    assert dcmread(first).BurnedInAnnotation == "NO"
    path = scan.sources[1].instance.path
    dataset = dcmread(path)
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(path)
    with pytest.raises(ScanError, match="names may be part of its pictures"):
        write(scan, tmp_path / "out", kinds=(SC,), deidentify=True)


@pytest.fixture
def ultrasound(tmp_path: Path, write_dicom):
    def make(**elements):
        folder = tmp_path / f"us{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        pixels = np.full((12, 16), 200, np.uint8)
        write_dicom(folder / "a.dcm", pixels, Modality="US", **elements)
        return only_scan(folder)

    return make


def test_pictures_that_may_show_names_are_not_captured(ultrasound, tmp_path: Path) -> None:
    for elements in ({}, {"BurnedInAnnotation": "YES"}):
        with pytest.raises(ScanError, match="names may be part of its pictures"):
            write(ultrasound(**elements), tmp_path / "out", kinds=(SC,), deidentify=True)
        assert not list((tmp_path / "out").iterdir())
    assert write(ultrasound(BurnedInAnnotation="NO"), tmp_path / "clean", kinds=(SC,), deidentify=True)


@pytest.mark.parametrize(
    "elements",
    [
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {"ConversionType": "WSD"},
        {"BurnedInAnnotation": "YES"},
    ],
)
def test_a_dose_report_is_of_modality_ct_too(tmp_path: Path, write_series, elements) -> None:
    write_series(tmp_path / "plain", **PLACED)
    assert write(only_scan(tmp_path / "plain"), tmp_path / "fine", kinds=(SC,), deidentify=True)
    write_series(tmp_path / "in", **{**PLACED, **elements})
    with pytest.raises(ScanError, match="names may be part of its pictures"):
        write(only_scan(tmp_path / "in"), tmp_path / "out", kinds=(SC,), deidentify=True)


def test_only_the_image_region_is_captured(ultrasound, tmp_path: Path, sequence) -> None:
    region = sequence(
        RegionSpatialFormat=1, RegionLocationMinX0=4, RegionLocationMinY0=3, RegionLocationMaxX1=9,
        RegionLocationMaxY1=7, RegionDataType=1, RegionFlags=0, PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3,
        PhysicalDeltaX=0.1, PhysicalDeltaY=0.1,
    )  # fmt: skip
    scan = ultrasound(SequenceOfUltrasoundRegions=region)
    (path,) = write(scan, tmp_path / "out", kinds=(SC,), deidentify=True)
    pixels = dcmread(path).pixel_array
    inside = np.zeros((12, 16), bool)
    inside[3:8, 4:10] = True
    assert (pixels[~inside] == 0).all()
    assert (pixels[inside].max(axis=-1) > 0).all()
