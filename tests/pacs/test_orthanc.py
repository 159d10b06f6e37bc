"""The round trips with a real PACS."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, CTImageStorage, ParametricMapStorage

from ..conftest import REPOSITORY
from .conftest import Command, Orthanc, free_port, wait_for

pytestmark = pytest.mark.orthanc

StartOrthanc = Callable[..., Orthanc]
MakeStudy = Callable[..., list[Path]]


def once(orthanc: Orthanc, log: Path, *options: str, stub: bool = True) -> int:
    arguments = ["watch", orthanc.dicomweb, "--once", "--since", "19000101", "--spool", str(log.parent / "spool")]
    return Command([*arguments, *options], log, stub).process.wait(300)


def modalities(orthanc: Orthanc) -> list[str]:
    return sorted(series["Modality"] for series in orthanc.series())


def test_watch_once(tmp_path: Path, orthanc: StartOrthanc, make_study: MakeStudy) -> None:
    server = orthanc(AuthenticationEnabled=False)
    server.upload(make_study(StudyDate="20240229", PatientName="ZEBEDIAH"))
    server.upload(make_study(StudyDate="20240301", Modality="US"))
    log = tmp_path / "log.txt"
    assert once(server, log) == 0, log.read_text()
    assert modalities(server) == ["CT", "OT", "US"]
    (ct,) = [s for s in server.series() if s["Modality"] == "CT"]
    (result,) = [s for s in server.series() if s["Modality"] == "OT"]
    assert result["Study"] == ct["Study"]
    assert result["Manufacturer"] == "anomalyclip_med"

    assert once(server, log) == 0  # nothing is new
    assert modalities(server) == ["CT", "OT", "US"]
    (tmp_path / "spool" / "state.json").unlink()
    assert once(server, log, "--modality", "OT,SR") == 0  # and what it has made itself never is
    assert modalities(server) == ["CT", "OT", "US"]

    server.upload(make_study(StudyDate="20240302", StudyDescription="FAIL"))
    assert once(server, log) == 1
    assert "ZEBEDIAH" not in log.read_text()
    assert "1.2.826" not in log.read_text()  # the root of all UIDs here


def test_watch_logs_in(tmp_path: Path, orthanc: StartOrthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    server = orthanc(AuthenticationEnabled=True, RegisteredUsers={"me": "secret"})
    log = tmp_path / "log.txt"
    assert once(server, log) == 1
    assert "HTTP status 401" in log.read_text()
    monkeypatch.setenv("ANOMALYCLIP_MED_DICOMWEB_USER", "me")
    monkeypatch.setenv("ANOMALYCLIP_MED_DICOMWEB_PASSWORD", "secret")
    assert once(server, log) == 0


def test_orthanc_sends_and_gets_the_results_back(
    tmp_path: Path, orthanc: StartOrthanc, make_study: MakeStudy, listen: Callable[..., Command]
) -> None:
    port = free_port()
    server = orthanc(
        DicomModalities={"scorer": {"AET": "ANOMALYCLIP", "Host": "127.0.0.1", "Port": port}},
        DicomAlwaysAllowStore=True,
    )
    service = listen("--port", str(port), store_to=f"ORTHANC@127.0.0.1:{server.dicom}")
    assert service.port == port
    server.upload(make_study())
    (study,) = server.get("/studies")

    def forward() -> dict[str, Any]:
        return requests.post(f"{server.url}/modalities/scorer/store", data=study, timeout=60).json()

    assert forward()["FailedInstancesCount"] == 0
    wait_for(lambda: modalities(server) == ["CT", "OT"])
    service.says("1 object(s) delivered")
    assert {series["Study"] for series in server.series()} == {study}

    forward()  # with the result in it, which is not scored
    wait_for(lambda: modalities(server) == ["CT", "OT", "OT"])
    assert service.printed.count("3 instance(s)") == 2


@pytest.mark.slow
def test_stable_studies_are_sent_by_the_script_in_the_docs(
    tmp_path: Path, orthanc: StartOrthanc, make_study: MakeStudy, listen: Callable[..., Command]
) -> None:
    port = free_port()
    script = (REPOSITORY / "docs" / "pacs.md").read_text().partition("```lua\n")[2].partition("```")[0]
    (tmp_path / "stable.lua").write_text(script)
    server = orthanc(
        DicomModalities={"scorer": {"AET": "ANOMALYCLIP", "Host": "127.0.0.1", "Port": port}},
        DicomAlwaysAllowStore=False,
        UserMetadata={"AnomalyclipSent": 4242},
        LuaScripts=[str(tmp_path / "stable.lua")],
        StableAge=1,
    )
    service = listen("--port", str(port), store_to=f"ORTHANC@127.0.0.1:{server.dicom}")
    assert service.port == port
    server.upload(make_study())
    wait_for(lambda: modalities(server) == ["CT", "OT"])
    time.sleep(4)  # the study is stable once more, with the result in it
    assert modalities(server) == ["CT", "OT"]
    assert service.printed.count("delivered") == 1


def test_maps_and_reports_of_the_real_scorer(
    tmp_path: Path, orthanc: StartOrthanc, make_study: MakeStudy, listen: Callable[..., Command]
) -> None:
    server = orthanc()
    files = make_study(StudyDate="20240229", FrameOfReferenceUID="1.2.3.5", RescaleSlope=1, RescaleIntercept=-1024)
    server.upload(files)
    log = tmp_path / "log.txt"
    options = "--score-options=--clip untrained --image-size 70 --device cpu"
    assert once(server, log, "--dicom", "pm,sr", options, stub=False) == 0, log.read_text()
    series = server.series()
    assert len(series) == 3
    assert {s["Study"] for s in series} == {series[0]["Study"]}
    classes = {
        requests.get(f"{server.url}/instances/{instance}/metadata/SopClassUid", timeout=10).text
        for instance in server.get("/instances")
    }
    reports = {ComprehensiveSRStorage, Comprehensive3DSRStorage}
    assert classes - reports == {CTImageStorage, ParametricMapStorage}
    assert classes & reports
