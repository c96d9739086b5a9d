"""Where replicas run, and how they get there without a template's edit."""

from __future__ import annotations

from operator_stage import Object, OperatorStage, names, until


def template_hashes(stage: OperatorStage, workload_class: str) -> set[str]:
    return {pod["metadata"]["labels"]["pod-template-hash"] for pod in stage.pods(workload_class)}


def test_a_changed_placement_leaves_the_pod_template_hash_as_it_was(stage: OperatorStage) -> None:
    hashes, replica_sets = template_hashes(stage, "chat"), stage.replica_sets()
    before = names(stage.pods("chat"))
    victim = stage.pods("chat")[0]
    left = victim["spec"]["nodeName"]

    with stage.load() as load:
        stage.kubectl("cordon", left)
        stage.kubectl("delete", "pod", victim["metadata"]["name"], "--wait=false")

        def replacement() -> list[Object]:
            return [p for p in stage.ready_pods("chat") if p["metadata"]["name"] not in before]

        (moved,) = until(replacement, "the replacement to be ready")

    assert moved["spec"]["nodeName"] != left
    assert template_hashes(stage, "chat") == hashes
    assert stage.replica_sets() == replica_sets
    assert load.lost == ()


def test_without_an_operator_the_scheduler_still_replaces_pods_and_gated_ones_wait(
    stage: OperatorStage,
) -> None:
    operator = stage.leader
    doomed = [stage.pods("chat")[0], *stage.pods("scholar")]
    operator.kill()
    stage.kubectl("delete", "pod", *names(doomed), "--wait=false")

    until(lambda: set(names(stage.ready_pods("scholar"))) - set(names(doomed)), "the scheduler's replacement")
    (replacement,) = until(
        lambda: [p for p in stage.pods("chat") if "nodeName" not in p["spec"]], "the gated one"
    )
    assert replacement["spec"]["schedulingGates"] == [{"name": "argosy.dev/placement"}]

    stage.start_operator(operator.name)
    until(lambda: len(stage.ready_pods("chat")) == 2, "the gated pod to be placed")
    placed = {p["metadata"]["name"]: p["spec"] for p in stage.pods("chat")}[replacement["metadata"]["name"]]
    assert placed["nodeSelector"]["kubernetes.io/hostname"] == placed["nodeName"]


def test_a_price_change_makes_the_new_replicas_ready_before_the_old_ones_go(stage: OperatorStage) -> None:
    old, plans = names(stage.pods("chat")), names(stage.plans())
    (old_deployment,) = {p["metadata"]["labels"]["argosy.dev/deployment"] for p in stage.pods("chat")}

    with stage.load(rate_per_s=2) as load:
        stage.patch("gpool", "h100", priceUsdPerHour=0.1)
        until(lambda: len(stage.ready_pods("chat", "h100")) == 2, "the cheaper pool's replicas")
        until(lambda: old_deployment not in stage.deployments(), "the old Deployment to be removed")
        new = names(stage.pods("chat"))

    assert load.lost == ()
    moved = next(plan["spec"] for plan in stage.plans() if plan["metadata"]["name"] not in plans)
    assert ("default/chat", "h100") in {(d["sharingGroup"], d["pool"]) for d in moved["deployments"]}
    assert "the price of pool h100 changed from $6.00 to $0.10 per GPU-hour" in moved["trigger"]
    assert stage.first_at("terminating", old) > stage.last_at("ready", new)
