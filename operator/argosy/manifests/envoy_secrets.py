"""Mutual TLS of an Envoy with its ADS servers: certificates that Envoy reads again without a restart.

Owns the TLS part of the bootstrap and the two files beside it. Input: paths as Envoy sees them. Output:
values to be written as YAML. Envoy reads a certificate anew only where it comes by SDS, also from a file: so
the bootstrap names two SDS files, and these name the certificate, its key and the authority.

Both the SDS files and the certificates are read again when a file is renamed into the certificates' folder,
as a kubelet does with a mounted Secret. The first makes an Envoy that started before its certificates take
them up, the second takes renewed ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argosy.settings import TlsFiles

CERTIFICATE_FILE = "certificate.yaml"
AUTHORITY_FILE = "authority.yaml"
_CERTIFICATE = "argosy-certificate"
_AUTHORITY = "argosy-authority"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"

Message = dict[str, Any]


def secret_files(tls: TlsFiles) -> dict[str, Message]:
    """The SDS files, by name: one secret in each, because Envoy asks for one by its name."""
    certificate = {
        "certificate_chain": {"filename": str(tls.certificate)},
        "private_key": {"filename": str(tls.key)},
        "watched_directory": {"path": str(tls.certificate.parent)},
    }
    authority = {
        "trusted_ca": {"filename": str(tls.authority)},
        "watched_directory": {"path": str(tls.authority.parent)},
    }
    return {
        CERTIFICATE_FILE: _response(_CERTIFICATE, {"tls_certificate": certificate}),
        AUTHORITY_FILE: _response(_AUTHORITY, {"validation_context": authority}),
    }


def transport_socket(tls: TlsFiles, directory: Path, hosts: Mapping[str, bool]) -> Message:
    """directory: of the SDS files; hosts: names to accept, because Envoy does not check them by itself, and
    whether each is an IP address."""
    names = [
        {"san_type": "IP_ADDRESS" if is_ip else "DNS", "matcher": {"exact": host}}
        for host, is_ip in hosts.items()
    ]
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TLS}.UpstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [
                    _sds(_CERTIFICATE, directory / CERTIFICATE_FILE, tls.certificate.parent)
                ],
                "combined_validation_context": {
                    "default_validation_context": {"match_typed_subject_alt_names": names},
                    "validation_context_sds_secret_config": _sds(
                        _AUTHORITY, directory / AUTHORITY_FILE, tls.authority.parent
                    ),
                },
            },
        },
    }


def _response(name: str, secret: Message) -> Message:
    return {"resources": [{"@type": f"{_TLS}.Secret", "name": name, **secret}]}


def _sds(name: str, path: Path, watched: Path) -> Message:
    source = {"path": str(path), "watched_directory": {"path": str(watched)}}
    return {
        "name": name,
        "sds_config": {"path_config_source": source, "resource_api_version": "V3"},
    }
