"""TLS with certificates on both sides, for DICOM (PS3.15 B.9 asks for no less)."""

from __future__ import annotations

import ssl
from pathlib import Path

from anomalyclip_med.errors import ConfigurationError


def tls_context(purpose: ssl.Purpose, cert: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """Make a context that shows a certificate and wants to see one.

    Args:
        purpose: CLIENT_AUTH to listen, SERVER_AUTH to call; then the host's name must fit its certificate.
        cert: PEM file of the own certificate.
        key: PEM file of its private key.
        authority: PEM file of the authority that must have signed the other side's certificate.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(purpose, cafile=str(authority))
        context.load_cert_chain(cert, key)
    except OSError as error:  # SSLError is one
        raise ConfigurationError(
            f"TLS: {cert}, {key} or {authority} cannot be used ({error.strerror or error})"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    return context
