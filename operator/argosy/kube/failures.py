"""What to do after the API server has refused a request.

Owns the one table from HTTP status to the next step, and the sentences on what an administrator has to
remedy: a permission, a namespace or a CustomResourceDefinition that is missing. Input: an exception of
the client's. Output: an `ActuationError` with its `NextStep`; `reconcile` carries it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from argosy.errors import ActuationError, NextStep, Obstacle

NEXT_STEP_BY_STATUS = {
    400: NextStep.GIVE_UP,
    401: NextStep.RETRY,  # a token being rotated
    403: NextStep.RETRY,  # an API server that has just started has not read its roles yet
    404: NextStep.REPLAN,
    409: NextStep.REPLAN,
    410: NextStep.REPLAN,
    413: NextStep.GIVE_UP,
    422: NextStep.GIVE_UP,
    429: NextStep.RETRY,
}
"""Any other status (5xx), a connection error and a time-out are tried again."""

RBAC_FILE = "charts/argosy/files/operator-rbac.yaml"
_OTHER_RBAC_FILES = {"secrets": "charts/argosy/files/certificates-rbac.yaml"}
"""By resource: what only some installations need."""

_NO_PERMISSION = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group'
    r' "(?P<group>[^"]*)"(?: (?P<scope>in the namespace "[^"]+"|at the cluster scope))?'
)
_NOT_ADMITTED = re.compile(r'is forbidden: (?!User ")|^admission webhook ')
"""A quota or an admission plugin refuses the object: other objects are not concerned."""
_NO_ANSWER_OF_WEBHOOK = "failed calling webhook "
"""Whatever the status is: the API server itself answers, and other objects may be admitted."""
_NO_NAMESPACE = re.compile(r'namespaces "(?P<name>[^"]+)" not found')
_NAMESPACE_ENDS = re.compile(r"in namespace (?P<name>\S+) because it is being terminated")
_KIND_UNKNOWN = ("404 page not found", "the server could not find the requested resource")


@dataclass(frozen=True, slots=True)
class _Known:
    """A refusal that an administrator can end."""

    obstacle: Obstacle
    next_step: NextStep
    sentence: str


@contextmanager
def typed(action: str) -> Iterator[None]:
    """Raises ActuationError for what the client raises while doing `action`."""
    try:
        yield
    except ApiException as error:
        status, message = int(error.status or 0), _message(error)
        known = _obstacle(action, status, message)
        if known is not None:
            said = f"{action}: {status}: {known.sentence}"
            raise ActuationError(said, known.next_step, known.obstacle, status) from error
        step = NEXT_STEP_BY_STATUS.get(status, NextStep.RETRY)
        is_not_admitted = status == 403 and _NOT_ADMITTED.search(message)
        if is_not_admitted or message.startswith("admission webhook ") or _NO_ANSWER_OF_WEBHOOK in message:
            step = NextStep.GIVE_UP
        raise ActuationError(f"{action}: {status} {message}", step, status=status) from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        why = str(error) or type(error).__name__  # a TimeoutError has no text
        raise ActuationError(f"{action}: the API server does not answer: {why}", NextStep.RETRY) from error


def words(error: ActuationError) -> str:
    """The API server's own words, where it answered: without the action and without Argosy's remedy."""
    cause = error.__cause__
    return f"{cause.status} {_message(cause)}" if isinstance(cause, ApiException) else str(error)


def _obstacle(action: str, status: int, message: str) -> _Known | None:
    """What an administrator has to remedy; None where nothing is known that would help."""
    if status == 401:
        sentence = (
            "the API server does not accept the operator's credentials: renew the token, or the user of the"
            " kubeconfig"
        )
        return _Known(Obstacle.FORBIDDEN, NextStep.RETRY, sentence)
    if status == 403 and (found := _NO_PERMISSION.search(message)):
        return _Known(Obstacle.FORBIDDEN, NextStep.RETRY, _permission(found))
    if found := _NAMESPACE_ENDS.search(message):
        sentence = (
            f"the namespace {found['name']} is being deleted, so nothing is created in it; delete the"
            " objects elsewhere that refer to it, or create the namespace again once it is gone"
        )
        return _Known(Obstacle.NAMESPACE_MISSING, NextStep.GIVE_UP, sentence)
    if status == 404 and (found := _NO_NAMESPACE.search(message)):
        sentence = (
            f"the namespace {found['name']} does not exist: create it (kubectl create namespace"
            f" {found['name']})"
        )
        return _Known(Obstacle.NAMESPACE_MISSING, NextStep.GIVE_UP, sentence)
    if status == 404 and any(text in message for text in _KIND_UNKNOWN):
        return _Known(Obstacle.KIND_MISSING, NextStep.RETRY, _kind_missing(action))
    return None


def _permission(found: re.Match[str]) -> str:
    kind, slash, subresource = found["resource"].partition("/")
    resource = (f"{kind}.{found['group']}" if found["group"] else kind) + slash + subresource
    scope = f" {found['scope']}" if found["scope"] else ""
    file = _OTHER_RBAC_FILES.get(kind, RBAC_FILE)
    return (
        f"the operator's account {found['user']} may not {found['verb']} {resource}{scope}: give it the"
        f" permissions of {file} (kubectl apply --server-side -f {file})"
    )


def _kind_missing(action: str) -> str:
    if "/argosy.dev/" not in action:
        return "the API server does not know this kind: Kubernetes 1.29 or later is needed"
    return (
        "its CustomResourceDefinition is not installed: apply those of Argosy (kubectl apply --server-side"
        " -f crds/)"
    )


def _message(error: ApiException) -> str:
    body = error.body or ""
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        plain = body.strip() if isinstance(body, str) else ""
        return plain if plain in _KIND_UNKNOWN else str(error.reason)
