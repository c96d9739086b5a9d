"""Owns kubeconfigs of ServiceAccounts, made by the administrator.

The operator and the virtual kubelet run with these, so that the API server refuses a call outside
their role. Roles and bindings are the caller's.
"""

from __future__ import annotations

import http
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from kubernetes import client, config

from argosy.errors import InvariantError
from argosy_sim.controlplane.credentials.kubeconfig import token_user, write

# A fleet outlives an hour's token, and nothing here renews one.
TOKEN_LIFETIME_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount's name."""

    namespace: str
    name: str


def service_account_kubeconfig(admin_kubeconfig: Path, account: Account, path: Path) -> Path:
    """Write the kubeconfig of a ServiceAccount to `path` (mode 0600) and return it.

    Makes the namespace and the account if they are absent; the token lasts 24 hours. Raises
    `kubernetes.client.ApiException` if the API server refuses.
    """
    settings = yaml.safe_load(admin_kubeconfig.read_text())
    # The client's functions for configuration carry no types upstream.
    with config.new_client_from_config_dict(settings, persist_config=False) as api:  # type: ignore[no-untyped-call]
        core = client.CoreV1Api(api)
        named = client.V1ObjectMeta(name=account.name, namespace=account.namespace)
        _unless_there(
            lambda: core.create_namespace(
                client.V1Namespace(metadata=client.V1ObjectMeta(name=account.namespace))
            )
        )
        _unless_there(
            lambda: core.create_namespaced_service_account(
                account.namespace, client.V1ServiceAccount(metadata=named)
            )
        )
        request = client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=TOKEN_LIFETIME_S)
        )
        answer = core.create_namespaced_service_account_token(account.name, account.namespace, request)
    if answer.status is None or answer.status.token is None:
        raise InvariantError(f"the API server answered a token request for {account} without a token")
    settings["users"] = [{"name": account.name, "user": token_user(answer.status.token)}]
    settings["contexts"][0]["context"] |= {"user": account.name, "namespace": account.namespace}
    write(path, settings)
    return path


def _unless_there(create: Callable[[], object]) -> None:
    try:
        create()
    except client.ApiException as error:
        if error.status != http.HTTPStatus.CONFLICT:
            raise
