"""The service as a process of its own, a node that sends, one that receives, and a real Orthanc."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

from ..conftest import REPOSITORY
from ..data.conftest import phantom, write_dicom, write_series  # noqa: F401 - fixtures

STUB = Path(__file__).with_name("stub_score.py")

# The command as installed, except for the scorer: the real one takes seconds to start and needs weights.
_WITH_STUB = f"""
import functools, sys
from anomalyclip_med.cli import main
from anomalyclip_med.pacs import scoring
scoring.Scorer = functools.partial(scoring.Scorer, command=(sys.executable, {str(STUB)!r}))
sys.exit(main(sys.argv[1:]))
"""


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """What a condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return result


def environment(**further: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **further}


class Command:
    """`anomalyclip-med pacs ...` running."""

    def __init__(self, arguments: Sequence[str], log: Path, stub: bool = True) -> None:
        start = ["-c", _WITH_STUB] if stub else ["-m", "anomalyclip_med.cli"]
        self.log = log
        with log.open("ab") as stream:
            self.before = stream.tell()
            self.process = subprocess.Popen(
                [sys.executable, *start, "pacs", *arguments], stdout=stream, stderr=stream, env=environment()
            )

    @property
    def printed(self) -> str:
        return self.log.read_bytes()[self.before :].decode()

    @property
    def port(self) -> int:
        def port() -> re.Match[str] | None:
            assert self.process.poll() is None, self.printed
            return re.search(r"listens on \S+:(\d+)", self.printed)

        return int(wait_for(port)[1])

    def says(self, text: str) -> None:
        wait_for(lambda: text in self.printed)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@dataclass
class Receiver:
    """A node that results are stored to."""

    status: int = 0x0000
    received: list[Dataset] = field(default_factory=list)
    ae: AE = field(default_factory=lambda: AE("PACS"))
    port: int = 0

    def start(self, **options: Any) -> None:
        for context in AllStoragePresentationContexts:
            self.ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        handlers = [(evt.EVT_C_STORE, self.store)]
        server = self.ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers, **options)
        self.port = server.server_address[1]

    def store(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        if self.status == 0:
            self.received.append(dataset)
        return self.status

    @property
    def address(self) -> str:
        return f"PACS@127.0.0.1:{self.port}"


def send(port: int, files: Sequence[Path], calling: str = "CT1", called: str = "ANOMALYCLIP", **options: Any) -> list:
    """Statuses of the instances' C-STORE, None where the association is gone; empty if there was none."""
    datasets = [dcmread(file) for file in files]
    ae = AE(calling)
    for kind in dict.fromkeys((d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets):
        ae.add_requested_context(*kind)
    association = ae.associate("127.0.0.1", port, ae_title=called, **options)
    statuses = []
    for dataset in datasets:
        if association.is_established:
            statuses.append(association.send_c_store(dataset).get("Status"))
    if association.is_established:
        association.release()
    return statuses


@pytest.fixture(scope="session")
def _receiver() -> Iterator[Receiver]:
    node = Receiver()
    node.start()
    yield node
    node.ae.shutdown()  # takes half a second


@pytest.fixture
def receiver(_receiver: Receiver) -> Receiver:
    _receiver.status = 0x0000
    _receiver.received.clear()
    return _receiver


@pytest.fixture
def listen(tmp_path: Path, receiver: Receiver) -> Iterator[Callable[..., Command]]:
    """Starts the listener; options replace the defaults."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, store_to: str = receiver.address) -> Command:
            arguments = [
                *("listen", "--port", "0", "--allow", "CT1,ORTHANC", "--store-to", store_to),
                *("--spool", str(tmp_path / "spool"), "--quiet-seconds", "0.3", "--retry-seconds", "0.2", *options),
            ]
            command = Command(arguments, tmp_path / "log.txt")
            stack.callback(command.process.wait, 20)
            stack.callback(command.process.kill)
            return command

        yield start


@pytest.fixture
def make_study(tmp_path: Path, write_series: Callable[..., Any]) -> Callable[..., list[Path]]:  # noqa: F811
    """Writes a CT series of three slices that is a study of its own."""

    def make(**elements: Any) -> list[Path]:
        folder = tmp_path / f"in_{len(list(tmp_path.glob('in_*')))}"
        uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
        write_series(folder, **uids, **elements)
        return sorted(folder.iterdir())

    return make


def spooled(folder: Path, part: str) -> list[str]:
    return [path.name for path in (folder / "spool" / part).iterdir()]


@dataclass
class Orthanc:
    """A PACS."""

    http: int
    dicom: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    def get(self, path: str) -> Any:
        return requests.get(f"{self.url}{path}", timeout=10).json()

    def upload(self, files: Sequence[Path]) -> None:
        for file in files:
            requests.post(f"{self.url}/instances", data=file.read_bytes(), timeout=10).raise_for_status()

    def series(self) -> list[dict[str, str]]:
        """Modality, manufacturer and study of every series."""
        return [
            {**series["MainDicomTags"], "Study": series["ParentStudy"]} for series in self.get("/series?expand=true")
        ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Callable[..., Orthanc]]:
    """Starts Orthanc with further settings."""
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if program is None or not plugin.exists():
        pytest.skip("Orthanc with DICOMweb is absent: apt-get install orthanc orthanc-dicomweb")
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> Orthanc:
            server = Orthanc(http=free_port(), dicom=free_port())
            configuration = {
                "Name": "test",
                "StorageDirectory": str(tmp_path / "orthanc"),
                "IndexDirectory": str(tmp_path / "orthanc"),
                "Plugins": [str(plugin)],
                "HttpPort": server.http,
                "DicomPort": server.dicom,
                "DicomAet": "ORTHANC",
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAlwaysAllowStore": True,
                "DicomWeb": {"Enable": True},
                **settings,
            }
            (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
            with (tmp_path / "orthanc.log").open("wb") as log:
                process = subprocess.Popen([program, str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
            stack.callback(process.wait, 20)
            stack.callback(process.kill)  # its data are not needed again

            def answers() -> bool:
                assert process.poll() is None, (tmp_path / "orthanc.log").read_text()
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(server.url, timeout=10)
                    return True
                return False

            wait_for(answers)
            return server

        yield start
