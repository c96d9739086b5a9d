"""Mutual TLS of the ADS server.

Owns its certificate, key and authorities as they are used now. Input: `TlsFiles`, read again for every
connection and whenever `look` is called. Output: gRPC's credentials; what the files hold, or the sentence
why they cannot be used. Files that have become unusable change nothing: the last usable ones stay in use.
Established streams keep the certificate that they began with.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from cryptography import x509

from argosy.certificates.reading import read_certificates, read_pair
from argosy.errors import SpecError
from argosy.settings import TlsFiles


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held when they were usable."""

    contents: tuple[bytes, bytes, bytes]
    certificate: x509.Certificate
    authorities: tuple[x509.Certificate, ...]

    @property
    def trusted_until(self) -> dt.datetime:
        """When the last of the authorities ends: from then on no Envoy's certificate is accepted."""
        return max(each.not_valid_after_utc for each in self.authorities)


class ServerTls:
    """The certificates of one ADS server. Connections ask for them in gRPC's threads."""

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self._on_connection: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._held: Material | None = None
        self._served: Material | None = None
        self.trouble = ""
        """Why the files cannot be used as they are now; empty where they can."""

    def on_connection(self, call: Callable[[], None]) -> None:
        """Call this, in a thread of gRPC's, when a connection begins."""
        self._on_connection = call

    def look(self) -> Material | None:
        """Read the files; the usable contents, which may be earlier ones, or None where there were none."""
        with self._lock:
            try:
                found = _read(self.files)
            except SpecError as error:
                self.trouble = str(error)
                return self._held
            self.trouble = ""
            if self._held is None or found != self._held.contents:
                self._use(found)
            return self._held

    def credentials(self) -> Any:
        """They ask every client for a certificate. Raises SpecError where the files were never usable."""
        held = self.look()
        if held is None:
            raise SpecError(self.trouble)
        self._served = held
        return grpc.dynamic_ssl_server_credentials(
            _configuration(held), self._changed, require_client_authentication=True
        )

    def _use(self, contents: tuple[bytes, bytes, bytes]) -> None:
        certificate, key, authority = contents
        where = self.files
        try:
            pair = read_pair(certificate, key, (str(where.certificate), str(where.key)))
            authorities = read_certificates(authority, str(where.authority))
        except SpecError as error:
            self.trouble = str(error)
        else:
            self._held = Material(contents, pair.certificate, authorities)

    def _changed(self) -> Any:
        """For gRPC, at the beginning of a connection: the new configuration, None where it is the same."""
        self._on_connection()
        found = self.look()
        if found is None or found is self._served:
            return None
        self._served = found
        return _configuration(found)


def _read(files: TlsFiles) -> tuple[bytes, bytes, bytes]:
    """Raises SpecError naming the file that cannot be read."""
    contents = []
    for path in (files.certificate, files.key, files.authority):
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    certificate, key, authority = contents
    return certificate, key, authority


def _configuration(held: Material) -> Any:
    certificate, key, authority = held.contents
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)
