"""Requests and limits of an engine's container.

Owns the defaults, by the number of GPUs and the size of the weights, and how a user's values are laid over
them. Input: a workload's variant and the name of its GPUs' resource. Output: the container's `resources`.

Limits are always set: a LimitRange would otherwise give the container its own defaults, with which engines
are killed while they load, or which the API server refuses as smaller than the request.
"""

from __future__ import annotations

import math
import re

from argosy.api.engine.pod import Resources
from argosy.perf.protocol import OutOfRange
from argosy.snapshot import Variant

CPU, MEMORY = "cpu", "memory"
_GIB = 2**30

_CPUS = (1, 1)
"""One for the API server and the scheduler, one per GPU for its worker: vLLM's advice of 2 + N, less the one
that a machine with four processors and one GPU needs for the kubelet."""
_CPU_LIMIT_FACTOR = 8
"""Above what vLLM uses: a limit that it reaches delays tokens."""
_MEMORY_GIB = (4, 2)
"""The same for memory: Python with torch in each process, pinned buffers and NCCL."""
_REQUESTED_SHARE = 0.125
"""Of the weights: files are read through the page cache, of which the kernel gives back what it needs."""
_STEP_GIB = 2
"""Memory is rounded up to it, so that a corrected figure of a model seldom exchanges replicas."""

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-zA-Z]{0,2})")
_FACTORS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip


def engine_resources(variant: Variant, gpu_resource: str) -> dict[str, dict[str, str]]:
    """The requests and limits of a variant's engine; a user's values replace defaults, by resource."""
    own = variant.engine.pod.resources
    requests, limits = _defaults(variant)
    for name in requests:
        requests[name], limits[name] = _laid_over(name, requests[name], limits[name], own)
    return {
        "requests": {**requests, **own.requests},
        "limits": {**limits, **own.limits, gpu_resource: str(variant.gpus)},
    }


def _defaults(variant: Variant) -> tuple[dict[str, str], dict[str, str]]:
    """Of memory none where the size of the weights is not known: nothing is planned then either."""
    # Here, as they import numpy, which commands that print objects of other kinds need not wait for.
    from argosy.perf.footprint.memory import find_architecture
    from argosy.perf.footprint.weights import weight_bytes

    cpus = _CPUS[0] + _CPUS[1] * variant.gpus
    requests, limits = {CPU: str(cpus)}, {CPU: str(cpus * _CPU_LIMIT_FACTOR)}
    architecture = find_architecture(variant)
    if isinstance(architecture, OutOfRange):
        return requests, limits
    weights_gib = weight_bytes(architecture, variant.engine.quantization) / _GIB
    base_gib = _MEMORY_GIB[0] + _MEMORY_GIB[1] * variant.gpus
    requests[MEMORY] = _gib(base_gib + weights_gib * _REQUESTED_SHARE)
    limits[MEMORY] = _gib(2 * base_gib + weights_gib)
    return requests, limits


def _gib(amount: float) -> str:
    return f"{math.ceil(amount / _STEP_GIB) * _STEP_GIB}Gi"


def _laid_over(name: str, request: str, limit: str, own: Resources) -> tuple[str, str]:
    """The request and limit of one resource: a user's request raises the default limit, and a user's limit
    lowers the default request, because a request above its limit is refused."""
    given_request, given_limit = own.requests.get(name), own.limits.get(name)
    if given_request is not None and given_limit is None:
        return given_request, _more(limit, given_request)
    if given_limit is not None and given_request is None:
        return _less(request, given_limit), given_limit
    return given_request or request, given_limit or limit


def _more(first: str, second: str) -> str:
    return second if (amount_of(second) or 0.0) > (amount_of(first) or 0.0) else first


def _less(first: str, second: str) -> str:
    """The smaller one; the second where it cannot be read: the API server names it then."""
    amount = amount_of(second)
    return first if amount is not None and amount >= (amount_of(first) or 0.0) else second


def amount_of(quantity: str) -> float | None:
    """A Kubernetes quantity as a number; None where it is none."""
    found = _QUANTITY.fullmatch(quantity)
    factor = _FACTORS.get(found[2]) if found else None
    return None if found is None or factor is None else float(found[1]) * factor
