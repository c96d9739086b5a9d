"""What a client reads whose request no class takes: which classes take the model, and what is missing.

Owns the sentences. Envoy cannot compare a request with every class, so that there is one sentence per
model, which lists what the model's classes ask for, and one for all other requests. Input: the classes
and models. Output: `Hints`; each ends the sentence that begins with the request.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from argosy.api import ServedModel, WorkloadClass
from argosy.keys import ClassKey
from argosy.route.precedence import conflicts, in_order, match_of
from argosy.route.table import Claim, Hints, ModelHint, RequestMatch

MOST_MODELS = 256
"""Models with a sentence of their own: each is a route that Envoy tries."""
_SECRET = re.compile(r"auth|cookie|key|token|secret|password|credential", re.IGNORECASE)
"""In names of headers by whose values callers are let in: every caller reads these sentences."""
MOST_NAMED = 12
"""Models or classes that one sentence names; of more, it gives the number."""


def hints_of(
    classes: Iterable[WorkloadClass],
    models: Iterable[ServedModel],
    unseen: Iterable[Claim] = (),
    yielding: Collection[ClassKey] = (),
) -> Hints:
    """The sentences for requests that no class takes; classes that never get a request are left out.

    unseen: claims of classes that are routed and not seen; yielding: classes that were deleted
    """
    known = tuple(classes)
    shadowed = {conflict.loser for conflict in conflicts(known, yielding)}
    names = {model.key: model.answered_names for model in models}
    takers: dict[str, list[str]] = {}
    for workload in in_order(known, yielding):
        if workload.key in shadowed:
            continue
        match = match_of(workload)
        served = match.models or {name for key in workload.model_keys for name in names.get(key, ())}
        for name in sorted(served):
            takers.setdefault(name, []).append(_condition(workload.key, match))
    for claim in unseen:
        for name in claim.match.models:
            takers.setdefault(name, []).append(_condition(claim.class_key, claim.match))
    if not takers:
        return Hints()
    by_model = tuple(
        ModelHint(name, _some(conditions, "; "))
        for name, conditions in sorted(takers.items())[:MOST_MODELS]
        if any(conditions)
    )
    served_here = f"the models that classes take are {_some(sorted(takers), ', ')}"
    no_model = f"send a JSON body that names a model, as in POST /v1/chat/completions; {served_here}"
    return Hints(by_model, served_here, no_model)


def _condition(key: ClassKey, match: RequestMatch) -> str:
    """What the class asks for besides the model; empty where it takes every request of the model."""
    parts = [
        f"header {name} (its value is not shown)" if _SECRET.search(name) else f"header {name}: {value}"
        for name, value in match.headers
    ]
    if match.path is not None and not (match.path.value == "/" and not match.path.exact):
        parts.append(f"path {match.path.value}{'' if match.path.exact else ' and below'}")
    return f"class {key} takes it with {' and '.join(parts)}" if parts else ""


def _some(texts: Iterable[str], between: str) -> str:
    found = list(dict.fromkeys(text for text in texts if text))
    more = f"{between}and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return between.join(found[:MOST_NAMED]) + more
