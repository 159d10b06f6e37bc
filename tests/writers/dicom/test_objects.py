"""What the objects say: values, codes, references, equipment, UIDs, the notice of untrained weights."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

from anomalyclip_med.errors import ScanError
from anomalyclip_med.inferers import ScanResult
from anomalyclip_med.transforms import LoadSliced
from anomalyclip_med.writers.dicom import DicomOutput
from tests.writers.dicom.conftest import MR, PROVENANCE, SHA, dciodvfy_errors, only_scan, random_map, write

PM, SEG, SC, SR = DicomOutput
PLACED = {"FrameOfReferenceUID": "1.2.9", "SliceThickness": 2}


@pytest.fixture(params=["CT", "MR"])
def scan(tmp_path: Path, write_series, request):
    elements = {"CT": {}, "MR": {"Modality": "MR", "SOPClassUID": MR}}[request.param]
    write_series(
        tmp_path / "in", **PLACED, **elements, StudyDescription="Knee", SeriesNumber=4, BodyPartExamined="KNEE"
    )
    return only_scan(tmp_path / "in")


def uids(value: Dataset) -> list[str]:
    """All UIDs of a data set, in its order."""
    found = []
    value.walk(lambda _, e: found.append(str(e.value)) if e.VR == "UI" else None)
    return found


def test_all_kinds_are_valid(scan, tmp_path: Path) -> None:
    written = write(scan, tmp_path / "out", threshold=0.5)
    assert [p.name.removeprefix(scan.name) for p in written] == [
        "_pm.dcm", "_seg.dcm", "_sc_0002.dcm", "_sc_0001.dcm", "_sc_0000.dcm", "_sr.dcm",
    ]  # fmt: skip
    for file in [*written, *write(scan, tmp_path / "fractional", kinds=(SEG,))]:
        assert not dciodvfy_errors(file)


def test_patient_study_and_equipment(scan, tmp_path: Path) -> None:
    source = dcmread(scan.sources[0].instance.path)
    objects = [dcmread(p) for p in write(scan, tmp_path / "out", threshold=0.5)]
    for image in objects:
        assert image.PatientName == source.PatientName
        assert image.PatientID == source.PatientID
        assert image.StudyInstanceUID == source.StudyInstanceUID
        assert image.StudyDescription == "Knee"
        assert image.SeriesInstanceUID != source.SeriesInstanceUID
        assert image.ManufacturerModelName == "anomalyclip_med"
        assert image.SoftwareVersions == "0.1.0"
        assert len(image.DeviceSerialNumber) == 16
        assert image.SeriesDescription.startswith("AnomalyCLIP anomaly")
    assert [o.SeriesNumber for o in objects] == [490, 491, 492, 492, 492, 493]
    assert len({o.SeriesInstanceUID for o in objects}) == 4
    assert len({o.SOPInstanceUID for o in objects}) == 6


def test_map_values_and_meaning(scan, tmp_path: Path) -> None:
    values = random_map(scan)
    (path,) = write(scan, tmp_path / "out", values, (PM,))
    image = hd.imread(path)
    # highdicom applies the mapping and the order; the map is (column, row, slice).
    frames = image.get_frames(apply_real_world_transform=True)
    np.testing.assert_array_equal(frames.astype(np.float32), values.transpose(2, 1, 0))
    shared = image.SharedFunctionalGroupsSequence[0]
    (mapping,) = shared.RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert quantity.CodingSchemeDesignator == image.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator
    assert shared.FrameVOILUTSequence[0].VOILUTFunction == "LINEAR_EXACT"
    assert shared.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeValue == codes.SCT.Knee.value
    assert (image.ContentLabel, image.FrameOfReferenceUID) == ("ANOMALY_MAP", "1.2.9")
    sources = {s.frame.position: dcmread(s.instance.path).SOPInstanceUID for s in scan.sources}
    for group in image.PerFrameFunctionalGroupsSequence:
        (item,) = group.DerivationImageSequence[0].SourceImageSequence
        position = tuple(float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient)
        assert sources[position] == item.ReferencedSOPInstanceUID
        assert item.ReferencedSOPClassUID == dcmread(scan.sources[0].instance.path).SOPClassUID
        assert "ReferencedFrameNumber" not in item


def test_map_may_be_mapped_from_disk(scan, tmp_path: Path) -> None:
    values = np.memmap(tmp_path / "map", np.float32, "w+", shape=scan.shape)
    values[...] = random_map(scan)
    (path,) = write(scan, tmp_path / "out", values, (PM,))
    stored = np.frombuffer(dcmread(path).FloatPixelData, np.float32)
    np.testing.assert_array_equal(stored, values.transpose(2, 1, 0).ravel())


@pytest.mark.parametrize("threshold", [0.5, 2.0])
def test_binary_segmentation(scan, tmp_path: Path, threshold: float) -> None:
    """Also where nothing at all is over the threshold, every scored slice has a frame."""
    values = random_map(scan)
    values[0, 0, 0] = 0.5
    (path,) = write(scan, tmp_path / "out", values, (SEG,), threshold=threshold)
    image = hd.seg.segread(path)
    volume = image.get_volume(combine_segments=True)
    affine_of_first = volume.map_indices_to_reference(np.zeros((1, 3)))[0]
    expected = (values >= threshold).transpose(2, 1, 0)
    if not np.allclose(affine_of_first, scan.sources[0].frame.position):
        expected = expected[::-1]
    np.testing.assert_array_equal(volume.array.astype(bool), expected)
    assert image.NumberOfFrames == 3
    segment = image.get_segment_description(1)
    assert segment.algorithm_type.value == "AUTOMATIC"
    assert segment.segmented_property_category == codes.SCT.MorphologicallyAbnormalStructure
    identification = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (identification.AlgorithmName, identification.AlgorithmVersion) == ("AnomalyCLIP", "0.1.0")
    assert f"clip_sha256={SHA}" in identification.AlgorithmParameters
    assert f"map >= {threshold:g}" in identification.AlgorithmParameters
    assert not dciodvfy_errors(path)


def test_fractional_segmentation(scan, tmp_path: Path) -> None:
    values = random_map(scan)
    (path,) = write(scan, tmp_path / "out", values, (SEG,))
    image = dcmread(path)
    assert (image.SegmentationType, image.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    by_position = {
        float(g.PlanePositionSequence[0].ImagePositionPatient[2]): pixels
        for g, pixels in zip(image.PerFrameFunctionalGroupsSequence, image.pixel_array, strict=True)
    }
    for source, expected in zip(scan.sources, values.transpose(2, 1, 0), strict=True):
        found = by_position[source.frame.position[2]] / image.MaximumFractionalValue
        np.testing.assert_allclose(found, expected, atol=0.5 / 255 + 1e-6)


def test_captures_are_overlays_of_a_fixed_scale(scan, tmp_path: Path) -> None:
    values = np.zeros(scan.shape, np.float32)
    values[..., 1] = 0.5  # all of it: no scaling by the slice's own range could show this
    values[..., 2] = 1
    hot, half, clear = write(scan, tmp_path / "out", values, (SC,))
    images = {p: dcmread(p) for p in (hot, half, clear)}
    picture = {p: i.pixel_array.astype(int) for p, i in images.items()}
    assert picture[clear].shape == (4, 5, 3)
    assert (picture[clear].max(axis=-1) == picture[clear].min(axis=-1)).all()  # the grey slice itself
    red_over_blue = {p: (v[..., 0] - v[..., 2]).mean() for p, v in picture.items()}
    assert red_over_blue[clear] == 0
    assert red_over_blue[half] > 20
    # inferno's last colour is (252, 255, 164), at 75 %
    slice_ = LoadSliced("image").read(scan, 2).numpy().transpose(1, 2, 0)
    expected = slice_ * 255 * 0.25 + 0.75 * np.array([252, 255, 164])
    np.testing.assert_allclose(picture[hot], expected, atol=1)
    image = images[hot]
    assert image.file_meta.TransferSyntaxUID == RLELossless
    assert [float(v) for v in image.PixelSpacing] == pytest.approx([0.7, 0.9])
    assert list(image.PatientOrientation) == ["L", "P"]
    assert (
        image.SourceImageSequence[0].ReferencedSOPInstanceUID == dcmread(scan.sources[2].instance.path).SOPInstanceUID
    )
    assert (image.InstanceNumber, images[clear].InstanceNumber) == (3, 1)
    assert "BurnedInAnnotation" not in image  # nothing is known of the source, and nothing was added


def test_burned_in_annotation_is_the_sources(tmp_path: Path, write_dicom) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.zeros((6, 8), np.uint8)
    write_dicom(tmp_path / "in" / "a.dcm", pixels, BurnedInAnnotation="YES", LossyImageCompression="01")
    (path,) = write(only_scan(tmp_path / "in"), tmp_path / "out", kinds=(SC,))
    assert dcmread(path).BurnedInAnnotation == "YES"
    assert dcmread(path).LossyImageCompression == "01"


def test_report(scan, tmp_path: Path) -> None:
    scores = np.array([0.25, 0.875, 0.5])
    (path,) = write(scan, tmp_path / "out", kinds=(SR,), scores=scores)
    report = hd.sr.srread(path)
    series, *slices = report.content.get_image_measurement_groups()
    (score,) = series.get_measurements()
    assert (score.value, score.unit, series.tracking_identifier) == (0.875, codes.UCUM.NoUnits, "series")
    sources = [dcmread(s.instance.path) for s in scan.sources]
    assert len(slices) == 3
    for number, (group, expected, source) in enumerate(zip(slices, scores, sources, strict=True)):
        (score,) = group.get_measurements()
        (image,) = group.source_images
        assert (score.name.value, score.value) == ("ANOMALY_SCORE", expected)
        assert image.referenced_sop_instance_uid == source.SOPInstanceUID
        assert image.referenced_sop_class_uid == source.SOPClassUID
        assert image.referenced_frame_numbers is None
        assert group.tracking_identifier == f"slice {number}"
    evidence = {(e[1], e[2], e[3]) for e in report.get_evidence()}
    assert evidence == {(s.SeriesInstanceUID, s.SOPInstanceUID, s.SOPClassUID) for s in sources}
    (device,) = report.content.get_observer_contexts(observer_type=codes.DCM.Device)
    assert device.observer_identifying_attributes.model_name == "anomalyclip_med"
    text = json.dumps(report.to_json_dict())
    assert f"clip_sha256={SHA}" in text
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_report_has_percentiles_where_they_are_known(scan, tmp_path: Path, monkeypatch) -> None:
    plain = ScanResult.record

    def with_percentiles(self: ScanResult) -> dict:
        record = plain(self)
        return {**record, "percentile": 99.5, "slices": [{**s, "percentile": 40.0} for s in record["slices"]]}

    monkeypatch.setattr(ScanResult, "record", with_percentiles)
    (path,) = write(scan, tmp_path / "out", kinds=(SR,))
    groups = hd.sr.srread(path).content.get_image_measurement_groups()
    found = [g.get_measurements(name=codes.DCM.PercentileRankingOfMeasurement)[0] for g in groups]
    assert [(m.value, m.unit) for m in found] == [(99.5, codes.UCUM.Percent), *[(40, codes.UCUM.Percent)] * 3]
    assert not dciodvfy_errors(path)


def test_untrained_weights_are_named_in_every_object(scan, tmp_path: Path) -> None:
    provenance = PROVENANCE | {"notice": "UNTRAINED: random weights or prompts; scores and maps mean nothing"}
    written = write(scan, tmp_path / "out", provenance=provenance)
    for path in written:
        image = dcmread(path)
        assert image.SeriesDescription.startswith("UNTRAINED")
        assert not dciodvfy_errors(path)
    maps, segmentation, capture = (dcmread(p) for p in written[:3])
    assert maps.ContentDescription.startswith("UNTRAINED")
    assert segmentation.ContentDescription.startswith("UNTRAINED")
    assert segmentation.SegmentSequence[0].SegmentLabel == "UNTRAINED Anomaly"
    assert capture.DerivationDescription.startswith("UNTRAINED")
    assert "UNTRAINED: random weights" in json.dumps(dcmread(written[-1]).to_json_dict())


def test_second_run_gives_the_same_uids(scan, tmp_path: Path) -> None:
    def run(name: str, **options) -> list[list[str]]:
        return [uids(dcmread(p)) for p in write(scan, tmp_path / name, **options)]

    first = run("first", threshold=0.5)
    assert first == run("second", threshold=0.5)
    own = {u for found in first for u in found}
    other = {p.name: dcmread(p) for p in write(scan, tmp_path / "third", threshold=0.25)}
    assert other[f"{scan.name}_pm.dcm"].SOPInstanceUID in own
    assert other[f"{scan.name}_seg.dcm"].SOPInstanceUID not in own
    settings = PROVENANCE | {"settings": {"window": "brain"}}
    for path in write(scan, tmp_path / "fourth", provenance=settings):
        assert dcmread(path).SOPInstanceUID not in own
        assert dcmread(path).SeriesInstanceUID not in own


def test_full_disk_stays_an_os_error(scan, tmp_path: Path, monkeypatch) -> None:
    def full(_, path: Path, **__) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save_as", full)
    with pytest.raises(OSError, match="No space left"):
        write(scan, tmp_path / "out", kinds=(PM,))
    assert not list((tmp_path / "out").iterdir())


def test_a_map_of_another_grid_is_refused(scan, tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="is not on the grid"):
        write(scan, tmp_path / "out", random_map(scan).transpose(2, 1, 0))


def test_what_highdicom_refuses_is_named_without_its_text(scan, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_, **__) -> None:
        raise KeyError("SECRET^NAME")

    monkeypatch.setattr("anomalyclip_med.writers.dicom.parametric_map.ParametricMap", refuse)
    with pytest.raises(ScanError, match="KeyError") as error:
        write(scan, tmp_path / "out", kinds=(PM,))
    assert "SECRET" not in str(error.value)
