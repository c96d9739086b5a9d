"""What to do after the API server has refused a request.

Owns the one table from HTTP status to the next step. Input: an exception of the client's. Output: an
`ActuationError` with its `NextStep`; `reconcile` carries it out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from argosy.errors import ActuationError, NextStep

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


@contextmanager
def typed(action: str) -> Iterator[None]:
    """Raises ActuationError for what the client raises while doing `action`."""
    try:
        yield
    except ApiException as error:
        status = int(error.status or 0)
        step = NEXT_STEP_BY_STATUS.get(status, NextStep.RETRY)
        raise ActuationError(f"{action}: {status} {_message(error)}", step, status) from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        why = str(error) or type(error).__name__  # a TimeoutError has no text
        raise ActuationError(f"{action}: the API server does not answer: {why}", NextStep.RETRY) from error


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
