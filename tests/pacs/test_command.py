"""What `anomalyclip-med pacs` says when it cannot start."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from anomalyclip_med.cli import main
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.pacs.options import check_values

LISTEN = ["pacs", "listen", "--port", "0", "--store-to", "PACS@127.0.0.1:4242", "--spool", "spool"]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("anomalyclip_med.pacs.command._log_to_stderr", lambda: None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (LISTEN, "--allow AET,AET..."),
        ([*LISTEN, "--allow", "AN_AE_TITLE_THAT_IS_TOO_LONG"], "is not an AE title"),
        ([*LISTEN, "--allow", "CT1", "--store-to", "PACS"], "is not AET@HOST:PORT"),
        ([*LISTEN, "--allow", "CT1", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1:0"),
        ([*LISTEN, "--allow", "CT1", "--tls-cert", "x.pem"], "TLS needs --tls-cert, --tls-key and --tls-ca"),
        (["pacs", "watch", "http://me:x@host", "--spool", "spool"], "ANOMALYCLIP_MED_DICOMWEB_USER"),
    ],
)
def test_one_clear_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("anomalyclip-med: ")
    assert message in line


def test_the_extra_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    assert main([*LISTEN, "--allow", "CT1"]) == 2
    assert "pip install 'anomalyclip-med[pacs]'" in capsys.readouterr().err


def test_score_options_are_checked_before_a_study_comes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*LISTEN, "--allow", "CT1", "--score-options=--plane oblique"])
    assert end.value.code == 2
    assert "--plane" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dicom", "pm,foo"], "unknown foo"),  # the process that checks it
        (["--dicom", ","], "no kind of object"),
        (["--score-options=-o/tmp/zzz"], "each study has its own"),
        (["--score-options=--outp OUT"], "each study has its own"),
        (["--score-options=--plane 'axial"], "No closing quotation"),
    ],
)
def test_options_that_no_study_could_be_scored_with(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LISTEN, "--allow", "CT1", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not Path("spool").exists()


@pytest.mark.parametrize("port", ["70000", "65536", "-1", "x", "²"])
def test_ports_are_checked(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*LISTEN, "--allow", "CT1", f"--port={port}"])
    assert end.value.code == 2
    assert "is not a port from 1 to 65535" in capsys.readouterr().err


def test_a_path_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ("more", "-- more", "--report more"):
        with contextlib.suppress(SystemExit):
            assert main([*LISTEN, "--allow", "CT1", f"--score-options={options}"]) == 2
        assert "more" in (told := capsys.readouterr().err) or "each study has its own" in told
    assert not Path("spool").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"aggregation": "foo"}, "aggregation='foo' is unknown"),
        ({"threshold": "7"}, "threshold='7'"),
        ({"threshold": "p99"}, "give a calibration"),
        ({"calibration": "/nope.json"}, "/nope.json"),
        ({"window": "foo"}, "window='foo' is unknown"),
        ({"window": [40.0, -1.0]}, "is unknown"),
        ({"empty_below": 2.0}, "empty_below=2.0"),
        ({"top_slices": -1}, "top_slices=-1"),
        ({"dicom": "pm,foo"}, "unknown foo"),
    ],
)
def test_values_are_checked_as_the_run_does(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        check_values(**values)
    given = [
        f"--{k.replace('_', '-')}={','.join(map(str, v)) if isinstance(v, list) else v}" for k, v in values.items()
    ]
    seen: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomalyclip_med.pacs.options._check_aside", seen.append)
        main([*LISTEN, f"--score-options={' '.join(given)}"])
    assert seen == [{"dicom": "pm,sr", **values}]


def test_values_that_are_right() -> None:
    check_values()
    check_values(dicom="seg,sc", threshold="0.5", window=["brain", "bone", [40.0, 80.0]], aggregation="top3")


def test_two_services_cannot_share_a_spool(capsys: pytest.CaptureFixture[str]) -> None:
    from anomalyclip_med.pacs.spool import Spool

    with Spool(Path("spool")):
        assert main([*LISTEN, "--allow", "CT1"]) == 2
    assert "give this one its own --spool" in capsys.readouterr().err
