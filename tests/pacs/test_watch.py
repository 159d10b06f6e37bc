"""Series are taken from a DICOMweb server and results stored there, once each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import dcmread
from pydicom.dataset import Dataset

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.pacs import credentials
from anomalyclip_med.pacs.service import DeliveryError, UnreachableError
from anomalyclip_med.pacs.spool import Limits, Spool
from anomalyclip_med.pacs.state import WatchState
from anomalyclip_med.pacs.watcher import Watcher, connect

MakeStudy = Callable[..., list[Path]]


class Server:
    """Answers as dicomweb-client does, from a list of files."""

    def __init__(self, *files: Path) -> None:
        self.files = list(files)
        self.stored: list[Dataset] = []
        self.status: int | None = None
        self.response = Dataset()
        self.searched: list[dict[str, str]] = []
        self.looked_at: list[str] = []
        self.lost = 0
        self.page: int | None = None  # None: all at once, whatever the offset
        self.retrieved = 0

    def _answer(self) -> None:
        if self.status is not None:
            response = requests.Response()
            response.status_code = self.status
            raise requests.HTTPError("http://x/studies/1.2.3", response=response)

    def search_for_studies(self, search_filters: dict[str, str], offset: int | None) -> list[dict[str, Any]]:
        self._answer()
        self.searched.append(search_filters)
        modality = search_filters["ModalitiesInStudy"]
        first = search_filters["StudyDate"].removesuffix("-")
        found = [d for d in map(dcmread, self.files) if d.get("StudyDate", "99991231") >= first]
        uids = {d.StudyInstanceUID for d in found if d.Modality == modality}
        start = (offset or 0) if self.page else 0
        return [_json(StudyInstanceUID=uid) for uid in sorted(uids)][start:][: self.page]

    def search_for_series(self, study: str, fields: list[str]) -> list[dict[str, Any]]:
        self.looked_at.append(study)
        found: dict[str, list[Dataset]] = {}
        for dataset in map(dcmread, self.files):
            if dataset.StudyInstanceUID == study:
                found.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
        return [
            _json(SeriesInstanceUID=uid, Modality=all_[0].Modality, NumberOfSeriesRelatedInstances=len(all_))
            for uid, all_ in found.items()
        ]

    def iter_series(self, study: str, series: str, media_types: Any) -> Any:
        datasets = [d for d in map(dcmread, self.files) if series in (d.SeriesInstanceUID, "any")]
        for dataset in datasets[self.lost :]:
            self._answer()
            self.retrieved += 1
            yield dataset

    def store_instances(self, datasets: list[Dataset]) -> Dataset:
        self._answer()
        self.stored += datasets
        return self.response


def _json(**elements: Any) -> dict[str, Any]:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset.to_json_dict()


@pytest.fixture
def watch(tmp_path: Path) -> Any:
    """A watcher of a server, as after a start of the program."""
    spools = []

    def start(server: Server, *modalities: str, limits: Limits | None = None, **options: Any) -> Watcher:
        for spool in spools:
            spool.__exit__()
        spools.append(Spool(tmp_path / "spool", limits))
        state = WatchState(tmp_path / "state.json")
        return Watcher(server, spools[-1], state, modalities or ("CT", "MR"), **options)  # type: ignore[arg-type]

    return start


def taken(watcher: Watcher) -> list[int]:
    """Numbers of instances of the studies that wait in the spool."""
    return [len(list(batch.study.iterdir())) for batch in watcher.spool.ready()]


def test_only_what_is_new_is_taken_and_only_once(watch: Any, make_study: MakeStudy) -> None:
    server = Server(*make_study())
    watcher = watch(server)
    assert watcher.poll()
    assert taken(watcher) == []  # it was there before
    server.files += make_study(Modality="MR")
    server.files += make_study(Modality="US")
    assert watcher.poll()
    assert taken(watcher) == []  # more of it may come
    watcher.poll()
    assert taken(watcher) == [3]
    for again in (watcher, watch(server)):
        again.poll()
        again.poll()
        assert taken(again) == [3]
        assert server.retrieved == 3


def test_a_series_that_has_grown_is_taken_again(watch: Any, make_study: MakeStudy) -> None:
    *two, third = make_study()
    server = Server(*two)
    watcher = watch(server, since="19000101", settle=False)
    watcher.poll()
    server.files.append(third)
    watcher.poll()
    assert taken(watcher) == [2, 3]
    assert server.searched[0] == {"StudyDate": "19000101-", "ModalitiesInStudy": "CT"}


@pytest.mark.parametrize("page", [None, 1, 2, 3])
def test_all_pages_are_asked_for(watch: Any, make_study: MakeStudy, page: int | None) -> None:
    server = Server(*make_study(), *make_study(), *make_study(Modality="MR"), *make_study())
    server.page = page
    watcher = watch(server, since="19000101", settle=False)
    assert watcher.poll()
    assert taken(watcher) == [3, 3, 3, 3]


def test_days_are_counted_from_the_first_start(tmp_path: Path, watch: Any) -> None:
    (tmp_path / "state.json").write_text('{"since": "20200131"}')
    server = Server()
    watch(server, "CT").poll()
    assert server.searched[0]["StudyDate"] == "20200131-"


class Day(date):
    """What day it is."""

    now = date(2024, 3, 1)

    @classmethod
    def today(cls) -> date:  # type: ignore[override]
        return cls.now


def test_polls_do_not_grow_with_the_years(watch: Any, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalyclip_med.pacs.watcher.date", Day)
    server = Server(*make_study(StudyDate="20200101"), *make_study(StudyDate="20240228"))
    watcher = watch(server, "CT", since="20190101")

    def poll() -> tuple[str, int]:
        server.searched, server.looked_at = [], []
        assert watcher.poll()
        (days,) = {filters["StudyDate"] for filters in server.searched}
        return days, len(server.looked_at)

    assert poll() == ("20190101-", 2)
    assert taken(watcher) == []
    assert poll() == ("20240223-", 2)  # the old one is waited for
    assert taken(watcher) == [3, 3]
    assert poll() == ("20240223-", 1)
    server.files += make_study(StudyDate="20210101")
    assert poll() == ("20240223-", 1)
    monkeypatch.setattr(Day, "now", date(2024, 3, 2))
    assert poll() == ("20190101-", 3)
    assert poll() == ("20240224-", 2)
    assert taken(watcher) == [3, 3, 3]
    watcher.since = "20240301"
    assert poll() == ("20240301-", 0)


def test_a_server_that_fails_is_asked_for_everything_again(watch: Any, make_study: MakeStudy) -> None:
    server = Server(*make_study(StudyDate="20200101"))
    watcher = watch(server, "CT", since="20190101", settle=False)
    server.status = 503
    with pytest.raises(UnreachableError):
        watcher.poll()
    server.status = None
    assert watcher.poll()
    assert taken(watcher) == [3]


def test_a_study_that_is_deleted_while_it_is_waited_for(watch: Any, make_study: MakeStudy) -> None:
    files = make_study(StudyDate="20200101")
    server = Server(*files)
    watcher = watch(server, "CT", since="20190101")
    assert watcher.poll()

    def gone(*_: Any, **__: Any) -> Any:
        server.status = 404
        server._answer()

    server.search_for_series = gone  # type: ignore[method-assign]
    server.files = []
    assert watcher.poll()
    assert watcher._waiting == []
    assert taken(watcher) == []


def test_own_series_are_skipped(watch: Any, make_study: MakeStudy) -> None:
    own = make_study(Manufacturer="anomalyclip_med")
    server = Server(*own)
    watcher = watch(server, since="19000101", settle=False)
    assert watcher.poll()
    assert watcher.poll()
    assert taken(watcher) == []
    assert server.retrieved == 1
    results = make_study()  # a series it knows by having stored it
    watcher.deliver(results)
    server.files += results
    watcher.poll()
    assert server.retrieved == 1


@pytest.mark.parametrize("case", ["too large", "lost"])
def test_a_study_that_cannot_be_taken_is_left_out_after_two_times(
    watch: Any, make_study: MakeStudy, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    server = Server(*make_study())
    server.lost = int(case == "lost")
    watcher = watch(server, limits=Limits(study=8192) if case == "too large" else None, since="19000101", settle=False)
    assert not watcher.poll()
    assert not watcher.poll()
    assert "left out" in caplog.text
    assert watcher.poll()
    assert taken(watcher) == []
    server.lost = 0
    server.files += make_study()[:2]
    assert watcher.poll()
    assert taken(watcher) == [2]


def test_a_server_that_is_out_of_order(watch: Any, make_study: MakeStudy) -> None:
    server, results = Server(*make_study()), make_study()
    server.status = 503
    watcher = watch(server, since="19000101", settle=False)
    with pytest.raises(UnreachableError, match=r"^the server answers with HTTP status 503$"):
        watcher.poll()
    with pytest.raises(UnreachableError):
        watcher.deliver(results)
    server.status = 409
    with pytest.raises(DeliveryError, match="409"):
        watcher.deliver(results)
    server.status = None
    assert watcher.poll()
    assert taken(watcher) == [3]
    failed = Dataset()
    failed.FailureReason = 0xA700
    server.response.FailedSOPSequence = [failed]
    with pytest.raises(DeliveryError, match="0xA700"):
        watcher.deliver(results)


def test_a_retrieval_that_breaks_off_is_tried_again(watch: Any, make_study: MakeStudy) -> None:
    server = Server(*make_study())
    watcher = watch(server, since="19000101", settle=False)
    whole = server.iter_series

    def broken(*arguments: Any, **options: Any) -> Any:
        yield next(whole(*arguments, **options))
        raise requests.ConnectionError("http://x/studies/1.2.3")

    server.iter_series = broken  # type: ignore[method-assign]
    for _ in range(3):  # never the study's fault
        assert not watcher.poll()
    assert taken(watcher) == []
    assert list(watcher.spool.incoming.iterdir()) == []
    server.iter_series = whole  # type: ignore[method-assign]
    assert watcher.poll()
    assert taken(watcher) == [3]


def test_credentials_come_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://me:secret@host/dicom-web", "http://host/dicom-web?token=secret"):
        with pytest.raises(ConfigurationError, match=credentials.TOKEN) as error:
            connect(url)
        assert "secret" not in str(error.value)
    for url in ("host/dicom-web", "ftp://host/", "http://"):
        with pytest.raises(ConfigurationError, match="is not the URL of a server"):
            connect(url)
    monkeypatch.setenv(credentials.USER, "me")
    with pytest.raises(ConfigurationError, match="both"):
        connect("http://host/dicom-web")
    monkeypatch.setenv(credentials.PASSWORD, "secret")
    assert credentials.session().auth == ("me", "secret")
    monkeypatch.setenv(credentials.TOKEN, "token")
    assert credentials.session().headers["Authorization"] == "Bearer token"


def test_a_damaged_state_file_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(ConfigurationError, match="remove it to start anew"):
        WatchState(tmp_path / "state.json")


@pytest.mark.parametrize("options", [{"since": "yesterday"}, {"modalities": ("ct",)}])
def test_options_are_checked(tmp_path: Path, options: dict[str, Any]) -> None:
    with Spool(tmp_path / "spool") as spool, pytest.raises(ConfigurationError):
        Watcher(None, spool, WatchState(tmp_path / "state"), **{"modalities": ("CT",), **options})  # type: ignore[arg-type]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    command = ["pacs", "watch", "http://127.0.0.1:9/dicom-web", "--once", "--spool", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "anomalyclip_med.cli", *command], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.endswith("WARNING the server cannot be reached (ConnectionError)\n")
