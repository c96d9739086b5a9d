"""What the certificates should be: the operator's names and the lifetimes.

Owns these settings and how they are kept beside the authority, so that whatever renews certificates later
(the leader, a hook of the chart, a command) need not be given them again. Input: flags, or the contents of
the authority's Secret. Output: `Wanted`; `SpecError` for a value that cannot be used.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from argosy.certificates.reading import CERTIFICATE, Files, hosts_of, lifetime, read_certificates
from argosy.errors import SpecError

SETTINGS = "settings.json"
"""Beside the authority's certificate and key."""
DEFAULT_LEAF_DAYS = 90
DEFAULT_AUTHORITY_DAYS = 730

_DAY = dt.timedelta(days=1)
_DNS = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_DNS = 253


class Part(StrEnum):
    """What is kept, each in a Secret or a folder of its own."""

    AUTHORITY = "ca"
    """Its certificate and key sign the others. No pod mounts it."""
    SERVER = "server"
    """What the operators show Envoys."""
    ENVOY = "envoy"
    """What Envoys show the operators."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """hosts: where Envoys reach the operators, as their `--ads` names them, without ports."""

    hosts: tuple[str, ...]
    leaf: dt.timedelta = DEFAULT_LEAF_DAYS * _DAY
    authority: dt.timedelta = DEFAULT_AUTHORITY_DAYS * _DAY

    @property
    def overlap(self) -> dt.timedelta:
        """How long a new authority is trusted before it signs, and the old one after it signed last.

        An hour: kubelets bring a changed Secret to its pods within two minutes. Less for short lifetimes.
        """
        return min(dt.timedelta(hours=1), self.leaf / 24)

    def to_json(self) -> bytes:
        """As it is kept."""
        found = {
            "hosts": list(self.hosts),
            "leafSeconds": self.leaf.total_seconds(),
            "authoritySeconds": self.authority.total_seconds(),
        }
        return json.dumps(found).encode()


def kept(held: dict[Part, Files]) -> Wanted | None:
    """What was wanted when these were made; None where they do not show it.

    The settings lie beside the authority. Where that is gone the server's certificate shows its hosts and its
    lifetime.
    """
    try:
        return _from_json(json.loads(held.get(Part.AUTHORITY, {}).get(SETTINGS, b"")))
    except (ValueError, TypeError, KeyError, SpecError):
        pass
    try:
        server = read_certificates(held.get(Part.SERVER, {}).get(CERTIFICATE, b""), "")[0]
    except SpecError:
        return None
    hosts = hosts_of(server)
    return Wanted(hosts, lifetime(server)) if hosts else None


def _from_json(found: Any) -> Wanted:
    hosts = tuple(require_host(str(host)) for host in found["hosts"])
    lifetimes = [dt.timedelta(seconds=float(found[key])) for key in ("leafSeconds", "authoritySeconds")]
    if not hosts or min(lifetimes) <= dt.timedelta():
        raise SpecError("no host, or no lifetime")
    return Wanted(hosts, *lifetimes)


def require_host(text: str, field: str = "--host") -> str:
    """A DNS name or an IP address, as a certificate has it. Raises SpecError for anything else."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    if _DNS.fullmatch(text) and len(text) <= _LONGEST_DNS:
        return text
    raise SpecError(
        f"{text!r} is no DNS name in lower case and no IP address, such as argosy.argosy-system.svc"
        " (without a port)",
        field,
    )


def require_lifetimes(leaf: dt.timedelta, authority: dt.timedelta) -> None:
    """Raises SpecError where an authority would end before two of its certificates in a row."""
    if authority < 2 * leaf:
        raise SpecError(
            f"{authority / _DAY:.3g} days are too few for certificates of {leaf / _DAY:.3g} days: an"
            f" authority needs at least twice their lifetime, {2 * leaf / _DAY:.3g}",
            "--authority-days",
        )
