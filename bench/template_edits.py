"""What a decision takes to look for edits in the templates of 512 Deployments, none of which was edited.

    python bench/template_edits.py

Every decision compares the template of each Deployment with the one that Argosy applied. The reference is
reading the same Deployments from JSON: seconds differ between machines, the ratio hardly does.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argosy.control.candidates.variants import variants_of
from argosy.control.edits.found import template_edit
from argosy.files.objects import read_objects, snapshot_of
from argosy.keys import GroupName
from argosy.manifests import EngineWorkload, deployment_manifest
from argosy.snapshot.kubernetes import deployment_state

NUM_DEPLOYMENTS = 512
RUNS = 9


def seconds(work: Callable[[], object]) -> float:
    """The median of some runs."""
    found = []
    for _ in range(RUNS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found)


def workloads() -> list[EngineWorkload]:
    """One variant of the small example, for as many sharing groups."""
    examples = Path(__file__).resolve().parents[1] / "examples" / "small"
    snapshot = snapshot_of(read_objects([examples]), now_s=0.0)
    variant = variants_of(snapshot, next(iter(snapshot.models.values())))[0]
    pool = snapshot.pools[variant.pool]
    return [EngineWorkload(variant, GroupName(f"default/class-{i}"), pool) for i in range(NUM_DEPLOYMENTS)]


def live(workload: EngineWorkload) -> dict[str, Any]:
    """The Deployment with what the API server adds to a template."""
    found = deployment_manifest(workload, 3)
    spec = found["spec"]["template"]["spec"]
    spec |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler"}
    for container in spec["containers"]:
        container |= {"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            container[name] |= {"successThreshold": 1}
            container[name]["httpGet"] |= {"scheme": "HTTP"}
    return found


def main() -> None:
    """Print the time and its ratio, which template_edits.bounds.yaml bounds."""
    ours = workloads()
    written = [json.dumps(live(each)) for each in ours]
    states = [deployment_state(json.loads(each)) for each in written]
    pairs = list(zip(states, ours, strict=True))
    for state, workload in pairs:
        if template_edit(state, workload, workload.variant.model_key) is not None:
            raise SystemExit(f"{workload.key} counts as edited: the benchmark is not of this version")

    def look() -> None:
        for state, workload in pairs:
            template_edit(state, workload, workload.variant.model_key)

    reference_s, look_s = seconds(lambda: [json.loads(each) for each in written]), seconds(look)
    print(
        f"{NUM_DEPLOYMENTS} Deployments: read from JSON {1e3 * reference_s:.1f} ms,"
        f" compared {1e3 * look_s:.1f} ms"
    )
    print(json.dumps({"figures": {"comparison": look_s / reference_s}}))


if __name__ == "__main__":
    main()
