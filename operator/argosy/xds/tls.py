"""Mutual TLS of the ADS server.

Owns the reading of its files. Input: `TlsFiles`. Output: gRPC's credentials, which read the files again
when a certificate has been exchanged: cert-manager and its like write new ones long before the old expire.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

from argosy.errors import SpecError
from argosy.settings import TlsFiles

log = logging.getLogger(__name__)


def credentials(tls: TlsFiles) -> Any:
    """Ask every client for a certificate. Raises `SpecError` naming the flag whose file cannot be used."""
    _require_usable(tls)
    held = _contents(tls)
    configuration = _configuration(held)

    def changed() -> Any:
        """The new configuration, None where no file has changed; one that cannot be read waits."""
        nonlocal held
        try:
            _require_usable(tls)
            found = _contents(tls)
        except (OSError, SpecError) as error:
            log.warning("the ADS server keeps its certificate: %s", error)
            return None
        if found == held:
            return None
        held = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(configuration, changed, require_client_authentication=True)


def _configuration(contents: tuple[bytes, bytes, bytes]) -> Any:
    certificate, key, authority = contents
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)


def _contents(tls: TlsFiles) -> tuple[bytes, bytes, bytes]:
    return tls.certificate.read_bytes(), tls.key.read_bytes(), tls.authority.read_bytes()


def _require_usable(tls: TlsFiles) -> None:
    """Raises `SpecError`: gRPC itself would refuse every connection without a word."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        pair = f"{tls.certificate} with the key {tls.key} cannot be used: {_words(error)}"
        raise SpecError(f"{pair}; name a certificate and its key, both PEM", "--xds-tls-cert") from error
    _require_authority(context, tls.authority)


def _require_authority(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        message = f"{path} cannot be used: {_words(error)}; name the authority's certificate, PEM"
        raise SpecError(message, "--xds-tls-ca") from error


def _words(error: OSError) -> str:
    return str(error.strerror or error)
