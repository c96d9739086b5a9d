"""The API server's words for a pod or a Deployment that it does not admit: which object refused, and why.

Owns the reading of these messages, of Kubernetes 1.29 and later (the admission plugins ResourceQuota,
LimitRanger, PodSecurity, ServiceAccount, Priority and RuntimeClass, webhooks and policies). Input: a message
and its namespace. Output: a `ClusterRefusal`; a message of no known form is repeated as it is, up to a bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from argosy.keys import NamespacedName

MOST_TEXT = 600
"""Characters of a message that a sentence repeats."""


class Refuser(StrEnum):
    """What kind of object refused; the values are for metrics and sentences."""

    QUOTA = "ResourceQuota"
    LIMIT_RANGE = "LimitRange"
    POD_SECURITY = "PodSecurity"
    WEBHOOK = "Webhook"
    POLICY = "ValidatingAdmissionPolicy"
    MISSING = "MissingObject"
    """Not an object that is there: one that the pod names and that does not exist."""
    SCHEDULER = "Scheduler"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class ClusterRefusal:
    """That the cluster does not take a replica.

    name:     of the object that refused, with its kind, for sentences: `ResourceQuota default/gpus`
    key:      of the object: `namespace/name` or `name`; empty where the words do not name one
    problem:  the cluster's words, without a full stop
    remedy:   an order, without a full stop
    resource: of a quota that is used up: what it counts; else empty
    """

    refuser: Refuser
    name: str
    problem: str
    remedy: str
    key: str = ""
    resource: str = ""

    def __str__(self) -> str:
        return f"{self.name} refuses them: {self.problem}"


@dataclass(frozen=True, slots=True)
class RefusedWrite:
    """A Deployment that the API server did not let Argosy make or change.

    variant: what it runs
    message: in the API server's words
    since_s: when it was refused first (seconds since the epoch)
    """

    variant: str
    message: str
    since_s: float


_PREFIX = re.compile(
    r'^(?:Failed to create new replica set "[^"]*": )?(?:[\w.]+(?: "[^"]*")? is (?:forbidden|invalid): )?'
)
_EXCEEDED = re.compile(r"exceeded quota: (?P<name>[^,\s]+), requested: (?P<asked>.*)", re.DOTALL)
_UNSAID = re.compile(r"failed quota: (?P<name>[^:\s]+): must specify (?P<asked>.*)", re.DOTALL)
_SCOPES = re.compile(r"insufficient quota to match these scopes: (?P<asked>.*)", re.DOTALL)
_SECURITY = re.compile(r'violates PodSecurity "(?P<level>[^"]+)": ', re.DOTALL)
_BOUNDS = re.compile(
    r"(?:m(?:ax|in)imum \S+ usage|\S+ max limit to request ratio) per (?:Container|Pod|\w+Claim) is "
)
_DENIED = re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request(?P<why>.*)', re.DOTALL)
_UNANSWERED = re.compile(r'failed calling webhook "(?P<name>[^"]+)": ', re.DOTALL)
_POLICY = re.compile(
    r"ValidatingAdmissionPolicy '(?P<name>[^']+)' (?:with binding '(?P<binding>[^']+)' )?(?=denied request)"
)
_MISSING = (
    (re.compile(r'serviceaccount "(?P<name>[^"]+)" not found'), "ServiceAccount", True),
    (re.compile(r"no PriorityClass with name (?P<name>\S+) was found"), "PriorityClass", False),
    (re.compile(r'RuntimeClass "(?P<name>[^"]+)" not found'), "RuntimeClass", False),
)

ENFORCE = "pod-security.kubernetes.io/enforce"
"""The label of a Namespace by which Pod Security refuses pods."""


def cluster_refusal(message: str, namespace: str) -> ClusterRefusal:
    """What an API server's message says. namespace: of the pod or Deployment that it is about"""
    text = " ".join(_PREFIX.sub("", message.strip(), count=1).split())
    for read in _READERS:
        if (found := read(text, namespace)) is not None:
            return found
    return ClusterRefusal(
        Refuser.OTHER, "The API server", _cut(text) or "no reason given", "Remove what the sentence names"
    )


def _cut(text: str) -> str:
    return (text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]} ...").rstrip(". ")


def _quota(text: str, namespace: str) -> ClusterRefusal | None:
    if found := _EXCEEDED.search(text):
        key = NamespacedName.of(namespace, found["name"])
        raise_it = f"Raise spec.hard of ResourceQuota {key}, or free what uses it"
        asked = [part.partition("=")[0] for part in found["asked"].split(", used: ")[0].split(",")]
        problem = _cut(f"it is used up; requested: {found['asked']}")
        return ClusterRefusal(
            Refuser.QUOTA, f"ResourceQuota {key}", problem, raise_it, key, ",".join(filter(None, asked))
        )
    if found := _UNSAID.search(text):
        key = NamespacedName.of(namespace, found["name"])
        state = (
            "Give the containers what it counts (a LimitRange of the namespace with defaults does that), or"
            " take it out of the quota"
        )
        problem = _cut(f"pods must specify {found['asked']}")
        return ClusterRefusal(Refuser.QUOTA, f"ResourceQuota {key}", problem, state, key)
    if found := _SCOPES.search(text):
        allow = f"Make a ResourceQuota with these scopes in namespace {namespace}"
        name = f"The limited admission of ResourceQuota in namespace {namespace}"
        return ClusterRefusal(
            Refuser.QUOTA, name, _cut(f"no quota matches the scopes {found['asked']}"), allow
        )
    return None


def _limit_range(text: str, namespace: str) -> ClusterRefusal | None:
    if not _BOUNDS.search(text):
        return None
    widen = f"Widen its bounds (kubectl -n {namespace} edit limitrange), or let the engines ask for less"
    return ClusterRefusal(
        Refuser.LIMIT_RANGE, f"A LimitRange of namespace {namespace}", _cut(text.strip("[]")), widen
    )


def _security(text: str, namespace: str) -> ClusterRefusal | None:
    if (found := _SECURITY.search(text)) is None:
        return None
    name = f"Pod Security {found['level']} of Namespace {namespace}"
    lower = f"Change what is named, or lower the label {ENFORCE} of Namespace {namespace}"
    return ClusterRefusal(Refuser.POD_SECURITY, name, _cut(text[found.end() :]), lower, namespace)


def _webhook(text: str, namespace: str) -> ClusterRefusal | None:
    if found := _DENIED.search(text):
        why = found["why"].removeprefix(":").strip()
        return ClusterRefusal(
            Refuser.WEBHOOK,
            f"Admission webhook {found['name']}",
            _cut(why if why and why != "without explanation" else "it gives no reason"),
            "Change what it names, or except the namespace in the webhook's configuration"
            " (namespaceSelector)",
            found["name"],
        )
    if found := _UNANSWERED.search(text):
        return ClusterRefusal(
            Refuser.WEBHOOK,
            f"Admission webhook {found['name']}",
            _cut(f"it does not answer ({text[found.end() :]})"),
            "Start the service behind it, or set failurePolicy: Ignore in the webhook's configuration",
            found["name"],
        )
    return None


def _policy(text: str, namespace: str) -> ClusterRefusal | None:
    if (found := _POLICY.search(text)) is None:
        return None
    why = text[found.end() :].removeprefix("denied request:").strip()
    # Without a binding it is the policy itself that cannot be used, and its failurePolicy is Fail.
    where = f"ValidatingAdmissionPolicyBinding {found['binding']}" if found["binding"] else "its binding"
    return ClusterRefusal(
        Refuser.POLICY,
        f"ValidatingAdmissionPolicy {found['name']}",
        _cut(why),
        f"Change what it names, or except namespace {namespace} in {where}",
        found["name"],
    )


def _missing(text: str, namespace: str) -> ClusterRefusal | None:
    for pattern, kind, is_namespaced in _MISSING:
        if found := pattern.search(text):
            key = NamespacedName.of(namespace, found["name"]) if is_namespaced else found["name"]
            return ClusterRefusal(Refuser.MISSING, "The API server", _cut(text), f"Create {kind} {key}", key)
    return None


_READERS: tuple[Callable[[str, str], ClusterRefusal | None], ...] = (
    _policy,
    _webhook,
    _security,
    _quota,
    _limit_range,
    _missing,
)
