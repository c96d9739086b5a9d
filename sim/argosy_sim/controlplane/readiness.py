"""Owns the readiness checks of a starting API server: two paths, no object kinds."""

from __future__ import annotations

import http.client
import ssl

from argosy_sim.controlplane.host.ports import LOOPBACK
from argosy_sim.controlplane.state import Layout

READY = "/readyz"
# Pods cannot be created before this object exists.
DEFAULT_SERVICE_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


def answers_ok(layout: Layout, port: int, path: str) -> bool:
    """Whether a GET as administrator answers 200 within two seconds."""
    context = ssl.create_default_context(cafile=str(layout.exported("ca.crt")))
    context.load_cert_chain(layout.pki("admin.crt"), layout.pki("admin.key"))
    connection = http.client.HTTPSConnection(LOOPBACK, port, context=context, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
