"""The registry, and downloads from a server of our own."""

import http.server
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from anomalyclip_med import weights
from anomalyclip_med.errors import WeightsError
from anomalyclip_med.weights import FileState

CONTENT = bytes(range(256)) * 4096  # 1 MiB
NAME = "anomalyclip-mvtec"


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT at every address but /missing, as the flags say, and keeps the ranges asked for."""

    content = CONTENT
    ranges = True
    break_after = None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.seen.append((self.path, wanted))
        if "missing" in self.path:
            self.send_error(404)
            return
        start = 0
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
            self.send_response(206)
            end = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.break_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def registered(monkeypatch, tmp_path):
    """The registry's entry with the blob id of CONTENT, and a cache of the test's own."""
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path / "cache"))
    (tmp_path / "content").write_bytes(CONTENT)
    entry = weights._REGISTRY[NAME]
    blob = weights.git_blob_id(tmp_path / "content")
    entry = type(entry)(**{**vars(entry), "blob_id": blob})
    monkeypatch.setitem(weights._REGISTRY, NAME, entry)
    return entry


def accept(_: Path) -> None:
    pass


def refuse(path: Path) -> None:
    raise WeightsError(f"{path}: expected aa, got bb")


def test_registry_names_the_training_set():
    by_name = {entry.name: entry for entry in weights.list_weights()}
    mvtec, visa = by_name["anomalyclip-mvtec"], by_name["anomalyclip-visa"]
    assert (mvtec.trained_on, visa.trained_on) == ("MVTec AD", "VisA")
    assert mvtec.url() == (
        "https://raw.githubusercontent.com/zqhang/AnomalyCLIP/main/checkpoints/9_12_4_multiscale_visa/epoch_15.pth"
    )
    assert mvtec.blob_id.startswith("72adc786")
    assert visa.path == "checkpoints/9_12_4_multiscale/epoch_15.pth"
    assert visa.blob_id.startswith("c90f1d9d")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_blob_id_is_gits(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    expected = subprocess.run(
        ["git", "hash-object", "--no-filters", path], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert weights.git_blob_id(path) == expected


def test_git_blob_id_of_nothing(tmp_path):
    (tmp_path / "empty").touch()
    assert weights.git_blob_id(tmp_path / "empty") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.delenv("ANOMALYCLIP_MED_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_dir() == tmp_path / "anomalyclip_med"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_dir() == Path.home() / ".cache" / "anomalyclip_med"
    monkeypatch.setenv("ANOMALYCLIP_MED_CACHE", str(tmp_path / "own"))
    assert weights.cache_dir() == tmp_path / "own"


def test_full_download(server, tmp_path):
    target = tmp_path / "new" / "file"
    assert weights.download(server.url + "/file", target, verify=accept) == target
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_resumes_after_a_broken_connection(server, tmp_path):
    server.break_after = 300_000
    target = tmp_path / "file"
    with pytest.raises(WeightsError, match="300000 of 1048576 bytes; run it again to resume"):
        weights.download(server.url, target, verify=accept)
    assert not target.exists()
    server.break_after = None
    weights.download(server.url, target, verify=accept)
    assert target.read_bytes() == CONTENT
    assert server.seen[-1][1] == "bytes=300000-"


def test_starts_again_without_ranges(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.part").write_bytes(b"something else")
    weights.download(server.url, tmp_path / "file", verify=accept)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_starts_again_where_the_range_cannot_be_met(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    weights.download(server.url, tmp_path / "file", verify=accept)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_content_is_deleted(server, tmp_path):
    with pytest.raises(WeightsError, match="expected aa, got bb"):
        weights.download(server.url, tmp_path / "file", verify=refuse)
    assert list(tmp_path.iterdir()) == []


def test_size_cap(server, tmp_path):
    with pytest.raises(WeightsError, match="more than the 1000 bytes"):
        weights.download(server.url, tmp_path / "file", verify=accept, max_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_refused_by_the_server(server, tmp_path):
    with pytest.raises(WeightsError, match="404") as caught:
        weights.download(server.url + "/missing", tmp_path / "file", verify=accept)
    assert str(tmp_path / "file") in str(caught.value)


def test_no_network(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
    with pytest.raises(WeightsError) as caught:
        weights.download(url, tmp_path / "file", verify=accept)
    message = str(caught.value)
    assert url in message
    assert f"save it as {tmp_path / 'file'}" in message
    assert "\n" not in message


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/file", "/etc/hostname"])
def test_other_schemes_are_refused(url, tmp_path):
    with pytest.raises(WeightsError, match="only http and https"):
        weights.download(url, tmp_path / "file", verify=accept)


def test_fetch_verify_resolve(server, registered):
    assert weights.verify(NAME).state is FileState.MISSING
    with pytest.raises(WeightsError, match=f"anomalyclip-med weights fetch {NAME}"):
        weights.resolve_prompts(NAME)

    path = weights.fetch(NAME, base_url=server.url)
    assert path == registered.cached_path() == weights.cache_dir() / "prompts" / f"{NAME}.pth"
    assert server.seen[0][0] == "/zqhang/AnomalyCLIP/main/" + registered.path
    assert weights.verify(NAME).state is FileState.OK
    assert weights.verify(path).checkpoint == registered
    assert weights.resolve_prompts(NAME) == path

    weights.fetch(NAME, base_url=server.url)
    assert len(server.seen) == 1

    path.write_bytes(b"damaged")
    assert weights.verify(NAME).state is FileState.WRONG
    with pytest.raises(WeightsError, match=registered.blob_id):
        weights.resolve_prompts(NAME)
    weights.fetch(NAME, base_url=server.url)
    assert weights.verify(NAME).state is FileState.OK


def test_fetch_into_a_folder(server, registered, tmp_path):
    path = weights.fetch(NAME, tmp_path / "mine", base_url=server.url)
    assert path == tmp_path / "mine" / f"{NAME}.pth"
    assert weights.verify(NAME, tmp_path / "mine").state is FileState.OK


def test_fetch_refuses_other_bytes(server, registered, tmp_path):
    server.content = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    with pytest.raises(WeightsError, match="Git LFS pointer") as caught:
        weights.fetch(NAME, tmp_path, base_url=server.url)
    assert registered.blob_id in str(caught.value)
    assert not list(tmp_path.glob("*.p*"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "anomalyclip-mvtek", ""])
def test_only_registered_names_are_fetched(name, tmp_path):
    with pytest.raises(WeightsError, match="anomalyclip-mvtec"):
        weights.fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_verify_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.pth"
    assert weights.verify(path).state is FileState.MISSING
    path.write_bytes(b"mine")
    found = weights.verify(path)
    assert found.state is FileState.WRONG
    assert found.checkpoint is None


def test_resolve_paths(tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"mine")
    assert weights.resolve_prompts(path) == path
    assert weights.resolve_prompts(str(path)) == path
    with pytest.raises(WeightsError, match="a folder"):
        weights.resolve_prompts(tmp_path)
    with pytest.raises(WeightsError, match="did you mean anomalyclip-visa"):
        weights.resolve_prompts("anomaly-clip-visa")
