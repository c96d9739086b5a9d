"""What the story makes in a cluster, and that it is removed.

Owns every change: objects created, a node taken away, a price changed, and the end of all of it. Input: a
kubectl and objects. Output: what kubectl answered. Errors: StartError with its sentence.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from argosy_sim.controlplane.errors import StartError
from argosy_sim.demo.pods.objects import LABEL, LOAD, NAMESPACE, namespace

KUBECTL_TIMEOUT_S = 60.0
REMOVAL_S = 240.0
"""Replicas finish their requests before their namespace is gone."""
LOOK_AGAIN_S = 2.0
_CALM_LOOKS = 3
_MOST_LOOKS = 15
_LABEL_NAME = LABEL.partition("=")[0]


class PodsCluster:
    """The cluster as the story changes it; `command` is kubectl with its kubeconfig."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self._cordoned: str | None = None
        self._is_begun = False
        # A change that runs in a thread as the story is cancelled ends before the removal begins.
        self._change = threading.Lock()

    def kubectl(self, *arguments: str, stdin: str = "", timeout_s: float = KUBECTL_TIMEOUT_S) -> str:
        """Run it; a session of its own, so that Ctrl-C does not end a removal half-way.

        Raises `StartError`.
        """
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise StartError(f"kubectl {' '.join(arguments)}: no answer within {timeout_s:g} s") from error
        if done.returncode != 0:
            raise StartError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout

    def read(self, *arguments: str) -> list[dict[str, Any]]:
        """The items that `kubectl get` finds."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", *arguments, "-o", "json"))["items"]
        return found

    def begin(self) -> None:
        """Create the namespace: refused while another demo has it, whose objects are then left alone."""
        with self._change:
            self._create([namespace()])
            self._is_begun = True

    def create(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Create objects; one that is there already is refused."""
        with self._change:
            self._create(objects)

    def _create(self, objects: Sequence[Mapping[str, Any]]) -> None:
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("create", "-f", "-", stdin=items)

    def log_of_load(self) -> str:
        """What the load's pod has printed; empty before it has started."""
        with suppress(StartError):
            return self.kubectl("logs", "-n", NAMESPACE, f"job/{LOAD}")
        return ""

    def has_load_failed(self) -> bool:
        """Whether the load's Job has failed."""
        [job] = self.read("jobs", "-n", NAMESPACE, "-l", LABEL)
        conditions = job.get("status", {}).get("conditions") or ()
        return any(each["type"] == "Failed" and each["status"] == "True" for each in conditions)

    def take_node_away(self, name: str, pods: Sequence[str]) -> float:
        """Cordon a node and delete these pods on it with a second of grace; when that was (Unix s)."""
        with self._change:
            self._cordoned = name
            self.kubectl("label", "node", name, LABEL)
            self.kubectl("cordon", name)
            at_s = time.time()
            self.kubectl("delete", "pods", "-n", NAMESPACE, "--grace-period=1", "--wait=false", *pods)
            return at_s

    def change_price(self, pool: str, usd_per_hour: float) -> None:
        """Change a pool's price per GPU-hour."""
        body = json.dumps({"spec": {"priceUsdPerHour": usd_per_hour}})
        self.kubectl("patch", "gpupools.argosy.dev", pool, "--type=merge", "-p", body)

    def remove_all(self, plans: Collection[str], say: Callable[[str], None]) -> tuple[str, ...]:
        """Remove what was made, and all FleetPlans but those named; what is left, by name or sentence."""
        with self._change:
            return self._remove_all(plans, say) if self._is_begun else ()

    def _remove_all(self, plans: Collection[str], say: Callable[[str], None]) -> tuple[str, ...]:
        wait = (f"--timeout={REMOVAL_S:g}s", "--ignore-not-found")
        cluster_wide = "gpupools.argosy.dev,fleets.argosy.dev,clusterroles,clusterrolebindings"
        steps: list[tuple[str, ...]] = [
            ("delete", "namespace", "-l", LABEL, *wait),
            ("delete", cluster_wide, "-l", LABEL, *wait),
        ]
        if self._cordoned:
            steps += [("uncordon", self._cordoned), ("label", "node", self._cordoned, f"{_LABEL_NAME}-")]
        left = []
        for step in steps:
            try:
                self.kubectl(*step, timeout_s=REMOVAL_S + KUBECTL_TIMEOUT_S)
            except StartError as error:
                say(f"not all was removed from the cluster: {error}")
                left.append(str(error))
        return (*left, *self._remove_plans(plans, say), *self._left())

    def _remove_plans(self, but: Collection[str], say: Callable[[str], None]) -> list[str]:
        """The story's fleet was the only one, so every plan made since is its, also those made as it ends."""
        calm = 0
        try:
            for _ in range(_MOST_LOOKS):
                names = [each["metadata"]["name"] for each in self.read("fleetplans.argosy.dev")]
                made = [name for name in names if name not in but]
                calm = 0 if made else calm + 1
                if calm == _CALM_LOOKS:
                    return []
                if made:
                    self.kubectl("delete", "fleetplans.argosy.dev", *made, "--ignore-not-found")
                time.sleep(LOOK_AGAIN_S)
        except StartError as error:
            say(f"FleetPlans may be left in the cluster: {error}")
            return [str(error)]
        return [f"FleetPlan {name}" for name in made]

    def _left(self) -> list[str]:
        kinds = "namespaces,nodes,gpupools.argosy.dev,fleets.argosy.dev,clusterroles,clusterrolebindings"
        with suppress(StartError):
            return self.kubectl("get", kinds, "-l", LABEL, "-o", "name").split()
        return ["what is left could not be listed"]
