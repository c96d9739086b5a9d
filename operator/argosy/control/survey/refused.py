"""Replicas that the cluster refuses, and quotas of which it is not known whether they count engines.

Input: a snapshot. Output: `Finding`s, also where other hardware serves meanwhile and no condition is False.
"""

from __future__ import annotations

from collections.abc import Iterator

from argosy.control.refused.evidence import evidence
from argosy.control.refused.quotas import counted, counts
from argosy.control.survey.installation import Finding, Severity
from argosy.snapshot.fleet import FleetSnapshot


def refused_findings(snapshot: FleetSnapshot) -> Iterator[Finding]:
    """One for each Deployment of Argosy's that is refused replicas, and each quota that is not counted."""
    for key, each in evidence(snapshot).items():
        refusal = each.refusal
        message = f"{refusal.name} refuses {each.what}: {refusal.problem}"
        yield Finding(Severity.BROKEN, f"Deployment {key}", message, _order(refusal.remedy))
    yield from _uncounted(snapshot)


def _order(remedy: str) -> str:
    return remedy[:1].lower() + remedy[1:]


def _uncounted(snapshot: FleetSnapshot) -> Iterator[Finding]:
    for key, quota in sorted(snapshot.quotas.items()):
        devices = sorted(name for name in quota.hard if "/" in name and counted(name))
        templates = [
            d.template for k, d in snapshot.deployments.items() if k.namespace == quota.key.namespace
        ]
        if devices and templates and any(counts(quota, template) is None for template in templates):
            scopes = ", ".join(dict.fromkeys(rule.scope for rule in quota.scopes))
            yield Finding(
                Severity.HINT,
                f"ResourceQuota {key}",
                f"whether its scopes ({scopes}) hold for engines is not known, so that plans do not count its"
                f" {', '.join(devices)}",
                "nothing where it does not refuse them; else plans leave alone for a while what it refuses",
            )
