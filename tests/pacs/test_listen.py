"""Studies go in over DICOM and results come out, whatever else happens."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    ParametricMapStorage,
)
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from .conftest import Command, Receiver, send, spooled, wait_for

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # oversized and invalid values are written on purpose

SENTINEL = "ZEBEDIAH"

Listen = Callable[..., Command]
MakeStudy = Callable[..., list[Path]]


def test_round_trip(tmp_path: Path, listen: Listen, make_study: MakeStudy, receiver: Receiver) -> None:
    service = listen()
    files = make_study()
    assert send(service.port, files) == [0, 0, 0]
    wait_for(lambda: receiver.received)
    (result,) = receiver.received
    assert result.ImageComments == "3 instances"
    assert result.StudyInstanceUID == dcmread(files[0]).StudyInstanceUID
    service.says("1 object(s) delivered")
    assert [spooled(tmp_path, part) for part in ("incoming", "open", "ready", "failed", "kept")] == [[]] * 5

    assert send(service.port, files[:2]) == [0, 0]  # what comes later is a study of its own
    wait_for(lambda: len(receiver.received) == 2)
    assert receiver.received[1].ImageComments == "2 instances"
    assert service.end() == 0


def test_what_is_spooled_is_what_was_sent_and_private(tmp_path: Path, listen: Listen, make_study: MakeStudy) -> None:
    service = listen("--keep")
    compressed = Path(str(get_testdata_file("MR_small_jp2klossless.dcm")))
    uncompressed = make_study()[0]
    assert send(service.port, [compressed]) == [0]
    assert send(service.port, [uncompressed]) == [0]
    kept = wait_for(lambda: len(spooled(tmp_path, "kept")) == 2 and [*tmp_path.glob("spool/kept/*/study/*.dcm")])
    syntaxes = set()
    for file in kept:
        stored = dcmread(file)
        original = dcmread(compressed if stored.Modality == "MR" else uncompressed)
        assert stored == original
        assert stored.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert stored.file_meta.MediaStorageSOPInstanceUID == original.SOPInstanceUID
        syntaxes.add(stored.file_meta.TransferSyntaxUID)
    assert JPEG2000Lossless in syntaxes
    for path in (tmp_path / "spool", tmp_path / "spool" / "incoming", kept[0].parent, kept[0]):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_echo_and_who_may_call(listen: Listen, make_study: MakeStudy) -> None:
    service = listen()
    files = make_study()
    for calling, called in (("STRANGER", "ANOMALYCLIP"), ("CT1", "ANY-SCP")):
        assert send(service.port, files, calling, called) == []
    service.says("association from 127.0.0.1 rejected")
    assert "STRANGER" not in service.printed
    ae = AE("CT1")
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", service.port, ae_title="ANOMALYCLIP")
    assert association.send_c_echo().Status == 0
    association.release()


def test_a_deflated_transfer_syntax_is_not_accepted(listen: Listen) -> None:
    service = listen()
    ae = AE("CT1")
    ae.add_requested_context(MRImageStorage, DeflatedExplicitVRLittleEndian)
    assert not ae.associate("127.0.0.1", service.port, ae_title="ANOMALYCLIP").is_established


def test_too_large(tmp_path: Path, listen: Listen, make_study: MakeStudy, receiver: Receiver) -> None:
    service = listen("--max-instance", "1", "--max-study", "2")
    large, files = make_study(ImageComments="x" * (1 << 20)), make_study()
    assert send(service.port, [large[0], *files]) == [0xA700, 0, 0, 0]
    wait_for(lambda: receiver.received)
    assert receiver.received[0].StudyInstanceUID == dcmread(files[0]).StudyInstanceUID

    half = make_study(ImageComments="x" * (800 << 10))  # three are over the limit of a study
    assert send(service.port, [*half, half[0]]) == [0, 0, 0xA700, 0xA700]
    assert send(service.port, files) == [0, 0, 0]
    wait_for(lambda: len(receiver.received) == 2)
    assert {d.StudyInstanceUID for d in receiver.received} == {dcmread(files[0]).StudyInstanceUID}
    assert spooled(tmp_path, "open") == []


def test_an_instance_without_end_is_cut_off(listen: Listen, make_study: MakeStudy, receiver: Receiver) -> None:
    service = listen("--max-instance", "1")
    assert send(service.port, make_study(ImageComments="x" * (8 << 20))[:1]) == [None]
    assert "far over the limit" in service.printed
    assert send(service.port, make_study()) == [0, 0, 0]
    wait_for(lambda: receiver.received)


def test_a_study_that_fails_does_not_stop_the_next(
    tmp_path: Path, listen: Listen, make_study: MakeStudy, receiver: Receiver
) -> None:
    service = listen()
    good = make_study()
    assert send(service.port, make_study(StudyDescription="KILL")) == [0, 0, 0]
    assert send(service.port, good) == [0, 0, 0]
    wait_for(lambda: receiver.received and spooled(tmp_path, "failed"))
    assert [d.StudyInstanceUID for d in receiver.received] == [dcmread(good[0]).StudyInstanceUID]
    lines = [line for line in service.printed.splitlines() if "ended with status -9" in line]
    assert len(lines) == 2  # tried twice, no more
    assert "will be tried again" in lines[0]
    assert "see failed/" in lines[1]
    assert len(list(tmp_path.glob("spool/failed/*/study/*.dcm"))) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_goes_on_with_what_is_in_the_spool(
    tmp_path: Path, listen: Listen, make_study: MakeStudy, receiver: Receiver, number: int
) -> None:
    service = listen()
    send(service.port, make_study(StudyDescription=f"UNTIL {tmp_path / 'go'}"))
    wait_for(lambda: list(tmp_path.glob("spool/ready/*/score.log")))
    send(service.port, make_study())
    assert service.end(number) == (-9 if number == signal.SIGKILL else 0)
    assert receiver.received == []
    assert len(list(tmp_path.glob("spool/*/*/study/*.dcm"))) == 6
    attempts = [file.read_text() for file in tmp_path.glob("spool/ready/*/attempts")]
    assert attempts == ["1" if number == signal.SIGKILL else "0"]

    (tmp_path / "go").touch()
    service = listen()
    wait_for(lambda: len(receiver.received) == 2)
    assert {d.ImageComments for d in receiver.received} == {"3 instances"}
    service.says("delivered")


def test_own_objects_and_what_is_no_scan_are_ignored(
    tmp_path: Path, listen: Listen, make_study: MakeStudy, receiver: Receiver
) -> None:
    service = listen()
    own = make_study(Manufacturer="The anomalyclip_med authors") + make_study(ManufacturerModelName="anomalyclip_med")
    others = [
        *make_study(SOPClassUID=ParametricMapStorage),
        *make_study(SOPClassUID=ComprehensiveSRStorage, Rows=None),
    ]
    assert send(service.port, own + others) == [0] * 12
    assert [spooled(tmp_path, part) for part in ("incoming", "open", "ready")] == [[]] * 3
    assert receiver.received == []
    send(service.port, make_study())
    wait_for(lambda: receiver.received)
    assert send(service.port, make_study()) == [0, 0, 0]


def test_damaged_instances_are_refused(listen: Listen, make_study: MakeStudy, receiver: Receiver) -> None:
    service = listen()
    nameless, files = make_study(), make_study()
    for file in nameless:
        dataset = dcmread(file)
        del dataset.StudyInstanceUID
        dataset.save_as(file)
    assert send(service.port, nameless) == [0xC000] * 3
    with socket.create_connection(("127.0.0.1", service.port)) as stranger:
        stranger.sendall(os.urandom(1000))
    assert send(service.port, files) == [0, 0, 0]
    wait_for(lambda: receiver.received)


def test_nothing_of_the_patient_is_told(
    tmp_path: Path, listen: Listen, make_study: MakeStudy, receiver: Receiver
) -> None:
    service = listen("--keep")
    named = dict.fromkeys(("PatientName", "PatientID", "AccessionNumber", "SeriesDescription"), SENTINEL)
    bad = {"StudyDate": SENTINEL, "PatientBirthDate": SENTINEL, "StudyInstanceUID": f"1.2.{SENTINEL}"}
    files = make_study(**named, StudyDescription="FAIL") + make_study(**named)
    for file in make_study(**named):
        dataset = dcmread(file)
        for keyword, value in bad.items():
            setattr(dataset, keyword, "20200101")
            dataset[keyword]._value = value
        dataset.save_as(file)
        files.append(file)
    send(service.port, files)
    send(service.port, files, calling=SENTINEL)
    send(service.port, files, called=SENTINEL)
    wait_for(lambda: spooled(tmp_path, "failed") and len(spooled(tmp_path, "kept")) == 2)
    service.end()
    assert len(receiver.received) == 2
    assert all(d.PatientName == SENTINEL for d in receiver.received)
    assert SENTINEL not in service.printed
    uids = {dcmread(file).StudyInstanceUID for file in files}
    assert not any(uid in service.printed for uid in uids)
    paths = [str(path.relative_to(tmp_path)) for path in (tmp_path / "spool").rglob("*")]
    assert len(paths) > 12
    assert not any(text in path for text in (SENTINEL, *uids) for path in paths)
