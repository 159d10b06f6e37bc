"""The command ``anomalyclip-med pacs``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anomalyclip_med.commands.arguments import positive
from anomalyclip_med.errors import ConfigurationError

logger = logging.getLogger(__name__)

_DESCRIPTION = """\
Score studies as they reach a PACS and store the results back as DICOM objects.
Needs pip install 'anomalyclip-med[pacs]'; see docs/pacs.md."""

_LISTEN = """\
Be a DICOM node: studies that are sent to it are scored when nothing more of
them has come for a while, and the results are sent to another node."""

_WATCH = """\
Ask a DICOMweb server for new series, score them and store the results there.
Without --since, what is there at the very first poll is left alone. Credentials
come from ANOMALYCLIP_MED_DICOMWEB_USER and _PASSWORD, or from _TOKEN."""

_IDLE_SECONDS = 0.2


def add_pacs(commands: Any, parse_score_options: Callable[[list[str]], argparse.Namespace]) -> None:
    """Add the command to a parser's commands.

    Args:
        commands: of the parser.
        parse_score_options: parses options of ``score``, after a PATH and an output folder; ends the program with a
            message if these are none.
    """
    pacs = commands.add_parser("pacs", help="score what reaches a PACS", description=_DESCRIPTION)
    actions = pacs.add_subparsers(required=True, metavar="ACTION")
    raw = argparse.RawDescriptionHelpFormatter
    listen = actions.add_parser(
        "listen", help="receive studies over DICOM, store results to a node", description=_LISTEN, formatter_class=raw
    )
    option = listen.add_argument_group("DICOM").add_argument
    option("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1: this machine only)")
    option("--port", type=_port, default=11112, help="port to listen on (default: 11112)")
    option("--ae-title", default="ANOMALYCLIP", metavar="AET", help="of this node (default: ANOMALYCLIP)")
    option("--allow", type=_listed, default=[], metavar="AET,...", help="AE titles that may send; nobody else may")
    option("--store-to", required=True, metavar="AET@HOST:PORT", help="node that receives the results")
    option("--quiet-seconds", type=_seconds, default=10, metavar="S", help="a study is complete after (default: 10)")
    option("--tls-cert", type=Path, metavar="PEM", help="speak TLS, both ways: own certificate,")
    option("--tls-key", type=Path, metavar="PEM", help="its private key,")
    option("--tls-ca", type=Path, metavar="PEM", help="and the authority of the other nodes' certificates")
    listen.set_defaults(run=_run, serve=_listen, state="listen", parse_score_options=parse_score_options)
    watch = actions.add_parser(
        "watch",
        help="take studies from a DICOMweb server, store results to it",
        description=_WATCH,
        formatter_class=raw,
    )
    watch.add_argument("url", metavar="URL", help="of the server, such as http://127.0.0.1:8042/dicom-web")
    option = watch.add_argument_group("DICOMweb").add_argument
    option("--modality", type=_listed, default=["CT", "MR"], metavar="M,...", help="of the series (default: CT,MR)")
    option(
        "--since", metavar="YYYYMMDD", help="first study date (default: day of the first start, and only new series)"
    )
    option("--every-seconds", type=_seconds, default=60, metavar="S", help="between two polls (default: 60)")
    option("--once", action="store_true", help="poll once, process what came, and end: status 1 if anything failed")
    watch.set_defaults(run=_run, serve=_watch, state="watch", parse_score_options=parse_score_options)
    for action in (listen, watch):
        _add_common(action)


def _add_common(action: argparse.ArgumentParser) -> None:
    option = action.add_argument_group("scoring").add_argument
    option("--dicom", default="pm,sr", metavar="KINDS", help="objects to store, as for 'score' (default: pm,sr)")
    option(
        "--score-options",
        default="",
        metavar="OPTIONS",
        help="further options of 'score', as in --score-options='--clip offline --window brain'",
    )
    option("--timeout", type=_seconds, default=3600, metavar="S", help="most time for a study (default: 3600)")
    option("--retry-seconds", type=_seconds, default=60, metavar="S", help="rest after a failure (default: 60)")
    option = action.add_argument_group("spool").add_argument
    option("--spool", type=Path, metavar="FOLDER", help="where studies wait (default: in the user's state folder)")
    option("--keep", action="store_true", help="keep finished studies in the spool while there is room")
    option("--max-instance", type=_mebibytes, default=1 << 30, metavar="MIB", help="largest instance (default: 1024)")
    option("--max-study", type=_mebibytes, default=8 << 30, metavar="MIB", help="largest study (default: 8192)")
    option("--max-spool", type=_mebibytes, default=32 << 30, metavar="MIB", help="largest spool (default: 32768)")


def _run(arguments: argparse.Namespace) -> int:
    try:
        import dicomweb_client  # noqa: F401
        import pynetdicom  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"{error.name} is missing: pip install 'anomalyclip-med[pacs]'") from None
    from anomalyclip_med.pacs.options import score_options
    from anomalyclip_med.pacs.scoring import Scorer
    from anomalyclip_med.pacs.spool import Limits, Spool

    options = score_options(arguments.score_options, arguments.dicom, arguments.parse_score_options)
    _log_to_stderr()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder = arguments.spool or _state_folder() / arguments.state
    limits = Limits(arguments.max_instance, arguments.max_study, arguments.max_spool)
    with Spool(folder.expanduser(), limits) as spool:
        scorer = Scorer(options, arguments.dicom, arguments.timeout)
        return arguments.serve(arguments, spool, scorer, stop)


def _listen(arguments: argparse.Namespace, spool: Any, scorer: Any, stop: threading.Event) -> int:
    from anomalyclip_med.pacs.listener import Listener
    from anomalyclip_med.pacs.service import Service
    from anomalyclip_med.pacs.store import Node, StoreDestination, ae_title

    title, allow = ae_title(arguments.ae_title), [ae_title(text) for text in arguments.allow]
    destination = StoreDestination(Node.parse(arguments.store_to), title, _tls(arguments, ssl.Purpose.SERVER_AUTH))
    service = Service(spool, scorer, destination, arguments.retry_seconds, arguments.keep)
    tls = _tls(arguments, ssl.Purpose.CLIENT_AUTH)
    with Listener(spool, title, allow, arguments.host, arguments.port, tls) as listener:
        logger.info("%s listens on %s:%d", title, arguments.host, listener.port)
        while not stop.is_set():
            spool.close_quiet(arguments.quiet_seconds)
            if not service.process_next(stop):
                stop.wait(min(_IDLE_SECONDS, arguments.quiet_seconds))
    logger.info("stopped")
    return 0


def _watch(arguments: argparse.Namespace, spool: Any, scorer: Any, stop: threading.Event) -> int:
    from anomalyclip_med.pacs.service import Service, UnreachableError
    from anomalyclip_med.pacs.state import WatchState
    from anomalyclip_med.pacs.watcher import Watcher, connect

    state = WatchState(spool.folder / "state.json")
    client = connect(arguments.url)
    watcher = Watcher(client, spool, state, arguments.modality, arguments.since, settle=not arguments.once)
    service = Service(spool, scorer, watcher, arguments.retry_seconds, arguments.keep)
    while True:
        try:
            taken = watcher.poll()
        except UnreachableError as error:
            logger.warning("%s", error)
            taken = False
        if arguments.once:
            done = [service.process(batch, stop) for batch in spool.ready() if not stop.is_set()]
            return 0 if taken and all(done) and not stop.is_set() else 1
        while service.process_next(stop) and not stop.is_set():
            pass
        if stop.wait(arguments.every_seconds):
            logger.info("stopped")
            return 0


def _tls(arguments: argparse.Namespace, purpose: ssl.Purpose) -> ssl.SSLContext | None:
    from anomalyclip_med.pacs.tls import tls_context

    files = (arguments.tls_cert, arguments.tls_key, arguments.tls_ca)
    if not any(files):
        return None
    if not all(files):
        raise ConfigurationError("TLS needs --tls-cert, --tls-key and --tls-ca")
    return tls_context(purpose, *files)


def _log_to_stderr() -> None:
    """Print this package's own messages and no others: those of the network libraries quote what peers send."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(logging.Filter("anomalyclip_med"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("anomalyclip_med").setLevel(logging.INFO)
    logging.captureWarnings(True)


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "anomalyclip_med"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535, or 0 for a free one")
    return int(text)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def _mebibytes(text: str) -> int:
    return positive(text) << 20
