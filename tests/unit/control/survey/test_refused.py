"""Refusals of the cluster in the answer of `argosy doctor`, where no condition need be False."""

from __future__ import annotations

from builders import NVIDIA
from refusing_world import CHEAP, RefusingWorld

from argosy.control.survey.installation import Severity
from argosy.control.survey.refused import refused_findings
from argosy.keys import NamespacedName
from argosy.snapshot.admission.quotas import QuotaState, ScopeRule


def test_a_deployment_that_is_refused_replicas_is_a_finding_with_the_object_and_its_remedy() -> None:
    world = RefusingWorld()
    world.refuses = {CHEAP: 'admission webhook "p.example.com" denied the request: no team'}
    world.run(3)
    (key,) = world.deployments
    [finding] = refused_findings(world.snapshot())
    assert (finding.severity, finding.about) == (Severity.BROKEN, f"Deployment {key}")
    assert finding.message == f"Admission webhook p.example.com refuses the pods of Deployment {key}: no team"
    assert finding.remedy.startswith("change what it names, or except the namespace")


def test_a_quota_that_plans_do_not_count_is_named() -> None:
    world = RefusingWorld()
    key, hard = NamespacedName("default/gpus"), {f"requests.{NVIDIA}": "8"}
    world.quotas = {str(key): QuotaState(key, hard, None, (ScopeRule("BestEffort"),))}
    world.run(1)
    [finding] = refused_findings(world.snapshot())
    assert (finding.severity, finding.about) == (Severity.HINT, "ResourceQuota default/gpus")
    assert "whether its scopes (BestEffort) hold for engines is not known" in finding.message
    world.quotas = {str(key): QuotaState(key, hard, None)}
    assert list(refused_findings(world.snapshot())) == []
