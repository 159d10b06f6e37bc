"""Sends objects to a DICOM node (C-STORE SCU)."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.pacs.service import DeliveryError, UnreachableError

_SUCCESS = {0x0000, 0xB000, 0xB006, 0xB007}  # stored; with a warning (PS3.4 B.2.3)
_OUT_OF_RESOURCES = 0xA7  # the high byte
_CONNECT_SECONDS = 30
_MAX_PORT = 65535


@dataclass(frozen=True)
class Node:
    """A DICOM node.

    Attributes:
        ae_title: its AE title.
        host: name or address.
        port: TCP port.
    """

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Node:
        """Read ``AET@HOST:PORT``; an IPv6 address stands in brackets.

        Raises:
            ConfigurationError: it is something else.
        """
        match = re.fullmatch(r"([^@]+)@(\[[0-9A-Fa-f:]+\]|[^@:\[\]]+):(\d{1,5})", text)
        if not match or not 1 <= int(match[3]) <= _MAX_PORT:
            raise ConfigurationError(
                f"{text!r} is not AET@HOST:PORT, such as ORTHANC@127.0.0.1:4242, with a port up to {_MAX_PORT}"
            )
        return cls(ae_title(match[1]), match[2].strip("[]"), int(match[3]))


def ae_title(text: str) -> str:
    """Check an AE title (PS3.5 6.2).

    Raises:
        ConfigurationError: it is none.
    """
    if not re.fullmatch(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?", text):
        raise ConfigurationError(f"{text!r} is not an AE title: 1 to 16 ASCII characters without backslash")
    return text


class StoreDestination:
    """A DICOM node that results are stored to.

    Args:
        node: the node.
        calling: AE title of this program.
        tls: to speak TLS.
    """

    def __init__(self, node: Node, calling: str, tls: ssl.SSLContext | None = None) -> None:
        self.node = node
        self.tls = tls
        self.ae = AE(calling)
        self.ae.connection_timeout = _CONNECT_SECONDS
        _config.STORE_SEND_CHUNKED_DATASET = True  # a map of a long series need not fit into memory

    def deliver(self, objects: Sequence[Path]) -> None:
        """Store DICOM files; see `Destination`."""
        metas = [read_file_meta_info(path) for path in objects]
        kinds = dict.fromkeys((meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas)
        association = self.ae.associate(
            self.node.host,
            self.node.port,
            # A context per transfer syntax, as the peer takes only one of each context.
            contexts=[build_context(sop_class, syntax) for sop_class, syntax in kinds],
            ae_title=self.node.ae_title,
            tls_args=(self.tls, self.node.host) if self.tls else None,
        )
        if not association.is_established:
            problem = "rejects the association" if association.is_rejected else "does not answer"
            if association.acceptor.primitive and not association.is_rejected:
                raise DeliveryError(f"{self.node.ae_title} accepts none of the kinds of objects to store")
            raise UnreachableError(f"{self.node.ae_title} at {self.node.host}:{self.node.port} {problem}")
        try:
            for path in objects:
                self._send(association, path)
        finally:
            if association.is_established:
                association.release()

    def _send(self, association: Association, path: Path) -> None:
        try:
            status = association.send_c_store(path).get("Status")
        except ValueError:
            name = read_file_meta_info(path).MediaStorageSOPClassUID.name
            raise DeliveryError(f"{self.node.ae_title} does not accept {name} objects") from None
        except RuntimeError:
            status = None
        if status is None:
            raise UnreachableError(f"the connection to {self.node.ae_title} was lost")
        if status >> 8 == _OUT_OF_RESOURCES:
            raise UnreachableError(f"{self.node.ae_title} is out of resources (status 0x{status:04X})")
        if status not in _SUCCESS:
            raise DeliveryError(f"{self.node.ae_title} refuses an object with status 0x{status:04X}")
