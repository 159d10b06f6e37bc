"""How a destination's answers are understood, with TLS and without."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.pacs.service import DeliveryError, UnreachableError
from anomalyclip_med.pacs.store import Node, StoreDestination
from anomalyclip_med.pacs.tls import tls_context

from .conftest import Command, Receiver, free_port, send, wait_for

MakeStudy = Callable[..., list[Path]]


def test_objects_arrive_as_they_are(receiver: Receiver, make_study: MakeStudy) -> None:
    files = make_study()
    StoreDestination(Node.parse(receiver.address), "ANOMALYCLIP").deliver(files)
    assert receiver.received == [dcmread(file) for file in files]


@pytest.mark.parametrize(
    ("status", "error"), [(0xA700, UnreachableError), (0xC000, DeliveryError), (0x0122, DeliveryError)]
)
def test_statuses(receiver: Receiver, make_study: MakeStudy, status: int, error: type[Exception]) -> None:
    receiver.status = status
    with pytest.raises(error, match=f"0x{status:04X}"):
        StoreDestination(Node.parse(receiver.address), "ANOMALYCLIP").deliver(make_study())


def test_nodes_that_take_nothing(make_study: MakeStudy) -> None:
    files = make_study()
    with pytest.raises(UnreachableError, match="does not answer"):
        StoreDestination(Node("PACS", "127.0.0.1", free_port()), "ANOMALYCLIP").deliver(files)
    node = AE("PACS")
    node.add_supported_context(Verification)
    port = node.start_server(("127.0.0.1", 0), block=False).server_address[1]
    destination = StoreDestination(Node("PACS", "127.0.0.1", port), "ANOMALYCLIP")
    with pytest.raises(DeliveryError, match="accepts none of the kinds"):
        destination.deliver(files)
    node.require_calling_aet = ["OTHER"]
    with pytest.raises(UnreachableError, match="rejects the association"):
        destination.deliver(files)
    node.shutdown()


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("ORTHANC@127.0.0.1:4242", Node("ORTHANC", "127.0.0.1", 4242)),
        ("MY PACS@pacs.example.org:104", Node("MY PACS", "pacs.example.org", 104)),
        ("A@[::1]:104", Node("A", "::1", 104)),
        ("A@h:65535", Node("A", "h", 65535)),
    ],
)
def test_nodes(text: str, node: Node) -> None:
    assert Node.parse(text) == node


@pytest.mark.parametrize(
    "text",
    [
        *("", "PACS", "PACS@host", "@host:1", "SEVENTEENCHARSLONG@h:1", "A\\B@h:1", "A@h:x"),
        *("A@h:0", "A@h:65536", "A@h:99999"),
    ],
)
def test_no_nodes(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Node.parse(text)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Certificate, key and authority for localhost; the certificate is its own authority."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is absent")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext"
    subprocess.run(
        ["openssl", *command.split(), "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    return cert, key, cert


@pytest.fixture
def tls_receiver(certificates: tuple[Path, Path, Path]) -> Iterator[Receiver]:
    node = Receiver()
    node.start(ssl_context=tls_context(ssl.Purpose.CLIENT_AUTH, *certificates))
    yield node
    node.ae.shutdown()


def test_tls_both_ways(
    tls_receiver: Receiver,
    certificates: tuple[Path, Path, Path],
    listen: Callable[..., Command],
    make_study: MakeStudy,
) -> None:
    cert, key, authority = map(str, certificates)
    options = ("--tls-cert", cert, "--tls-key", key, "--tls-ca", authority)
    service = listen(*options, store_to=f"PACS@localhost:{tls_receiver.port}")
    files = make_study()
    stranger = ssl.create_default_context(cafile=authority)  # has no certificate
    assert send(service.port, files, tls_args=(stranger, "localhost")) == []
    assert send(service.port, files) == []
    known = tls_context(ssl.Purpose.SERVER_AUTH, *certificates)
    assert send(service.port, files, tls_args=(known, "localhost")) == [0, 0, 0]
    wait_for(lambda: tls_receiver.received)


def test_tls_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        tls_context(ssl.Purpose.CLIENT_AUTH, *[tmp_path / "absent.pem"] * 3)
