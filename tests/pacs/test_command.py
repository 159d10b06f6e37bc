"""What `anomalyclip-med pacs` says when it cannot start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from anomalyclip_med.cli import main

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


def test_two_services_cannot_share_a_spool(capsys: pytest.CaptureFixture[str]) -> None:
    from anomalyclip_med.pacs.spool import Spool

    with Spool(Path("spool")):
        assert main([*LISTEN, "--allow", "CT1"]) == 2
    assert "give this one its own --spool" in capsys.readouterr().err
