"""Receives studies over DICOM (C-STORE and C-ECHO SCP)."""

from __future__ import annotations

import logging
import ssl
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from weakref import WeakKeyDictionary

from pydicom.pixels import get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pynetdicom import (
    AE,
    ALL_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
    _config,
    evt,
)
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.pacs.identity import Identity
from anomalyclip_med.pacs.spool import RefusedError, Spool

logger = logging.getLogger(__name__)

# PS3.4 B.2.3
_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700
_DOES_NOT_MATCH_SOP_CLASS = 0xA900
_CANNOT_UNDERSTAND = 0xC000

_MAX_ASSOCIATIONS = 8


@dataclass
class _Transfer:
    """What an association is sending: bytes since its last complete instance, and of which study that was."""

    size: int = 0
    study_uid: str = ""


class Listener:
    """A DICOM node that takes studies into a spool. Use it as a context manager.

    Instances are written to disk while they arrive. Those that are no scan, and those that this package has made, are
    accepted and dropped, as senders often route whole studies and stop at the first refusal. Transfer syntaxes are
    those whose pixels can be decoded, except the deflated one, in which a small file can ask for any amount of memory.

    Args:
        spool: takes the instances.
        ae_title: of this node; callers must use it.
        allow: AE titles of callers that are accepted.
        host: address to bind to.
        port: TCP port, 0 for a free one.
        tls: to speak TLS.

    Raises:
        ConfigurationError: nobody would be accepted.
    """

    def __init__(
        self,
        spool: Spool,
        ae_title: str,
        allow: Sequence[str],
        host: str = "127.0.0.1",
        port: int = 11112,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if not allow:  # to pynetdicom an empty list means everybody
            raise ConfigurationError("give the AE titles that may send: --allow AET,AET...")
        self.spool = spool
        self.address = (host, port)
        self.tls = tls
        self.ae = AE(ae_title)
        self.ae.require_called_aet = True
        self.ae.require_calling_aet = list(allow)
        self.ae.maximum_associations = _MAX_ASSOCIATIONS
        syntaxes = _decodable()
        for context in AllStoragePresentationContexts:
            self.ae.add_supported_context(context.abstract_syntax, syntaxes)
        self.ae.add_supported_context(Verification)
        self._transfers: WeakKeyDictionary[Association, _Transfer] = WeakKeyDictionary()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self.address[1]

    def __enter__(self) -> Self:
        """Start to listen.

        Raises:
            ConfigurationError: the address cannot be bound to.
        """
        # pynetdicom streams instances into tempfile's folder: the spool, where they need only be renamed.
        self._tempdir, tempfile.tempdir = tempfile.tempdir, str(self.spool.incoming)
        _config.STORE_RECV_CHUNKED_DATASET = True
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DATA_RECV, self._received),
            (evt.EVT_REJECTED, self._rejected),
        ]
        try:
            server = self.ae.start_server(self.address, block=False, evt_handlers=handlers, ssl_context=self.tls)
        except OSError as error:
            tempfile.tempdir = self._tempdir
            raise ConfigurationError(f"cannot listen on {self.address[0]}:{self.port}: {error.strerror}") from None
        self.address = server.server_address[:2]
        return self

    def __exit__(self, *_: object) -> None:
        """Abort what is being received and stop to listen."""
        self.ae.shutdown()
        tempfile.tempdir = self._tempdir

    def _transfer(self, association: Association) -> _Transfer:
        with self._lock:
            return self._transfers.setdefault(association, _Transfer())

    def _received(self, event: evt.Event) -> None:
        transfer = self._transfer(event.assoc)
        transfer.size += len(event.data)
        if transfer.study_uid:
            self.spool.touch(transfer.study_uid)
        # A sender that is a little over the limit is told so; one that does not end must not fill the disk.
        if transfer.size > 2 * self.spool.limits.instance + (1 << 20):
            logger.warning("association aborted: an instance is far over the limit")
            event.assoc.abort()

    def _rejected(self, event: evt.Event) -> None:
        # What the caller says of itself could be anything, so only its address is told.
        logger.warning(
            "association from %s rejected: its AE title is not in --allow, it called another AE title than this "
            "node's, or there are more than %d associations",
            event.assoc.requestor.address,
            _MAX_ASSOCIATIONS,
        )

    def _store(self, event: evt.Event) -> int:
        transfer = self._transfer(event.assoc)
        transfer.size = 0
        try:
            identity = Identity.of_file(event.dataset_path)
        except Exception as error:  # pydicom raises anything for damaged files
            logger.warning("instance refused: its header cannot be read (%s)", type(error).__name__)
            return _CANNOT_UNDERSTAND
        if identity.sop_class != event.request.AffectedSOPClassUID:
            logger.warning("instance refused: it is of another SOP class than its sender says")
            return _DOES_NOT_MATCH_SOP_CLASS
        if identity.own or not identity.image:
            return _SUCCESS
        transfer.study_uid = identity.study
        try:
            self.spool.add(event.dataset_path, identity.study, identity.instance)
        except RefusedError as error:
            logger.warning("instance refused: %s", error)
            return _OUT_OF_RESOURCES
        except OSError as error:
            logger.error("instance refused: it cannot be written (%s)", error.strerror)
            return _OUT_OF_RESOURCES
        return _SUCCESS


def _decodable() -> list[str]:
    syntaxes = []
    for syntax in ALL_TRANSFER_SYNTAXES:
        try:
            get_decoder(UID(syntax))
        except NotImplementedError:
            continue
        if syntax != DeflatedExplicitVRLittleEndian:
            syntaxes.append(syntax)
    return syntaxes
