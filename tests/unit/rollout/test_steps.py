"""One roll-out step at a time: what is added, what may go, what goes first, what gives way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import builders
import pytest
from small_fleet import a_pool

from argosy.keys import GroupName, ModelKey
from argosy.manifests import EngineWorkload
from argosy.rollout import (
    CreateDeployment,
    DeleteDeployment,
    MarkVictim,
    PlacePod,
    RolloutInputs,
    ScaleDeployment,
    Step,
    Target,
    assign_nodes,
    rollout_steps,
)
from argosy.rollout.steps import VICTIM_COST
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.cluster import DeploymentState, PodState

WORKLOAD = EngineWorkload(
    Variant(ModelKey("default/llama"), "small", ("llama",), "l40s", "L40S", 1, EngineSettings()),
    GroupName("default/chat"),
    a_pool(),
)


def a_pod(name: str, state: str = "serving") -> PodState:
    """`a1` is the first pod of Deployment `a`."""
    pod = builders.a_pod(name, deployment=f"default/{name[0]}")
    match state:
        case "loading":
            return replace(pod, ready=False)
        case "crashed":
            return replace(pod, ready=False, restarts=1)
        case "gated":
            return replace(pod, ready=False, node="", gated=True)
        case "draining":
            return replace(pod, deleting=True)
        case "failed":
            return replace(pod, phase="Failed", ready=False)
    assert state in ("serving", "lost", "stranded")
    return pod


@dataclass
class Scene:
    """Deployments by one letter: what runs (pods' states), what is asked for, what is planned."""

    planned: dict[str, int]
    existing: dict[str, int]
    pods: dict[str, str]
    victims: tuple[str, ...] = ()
    without_room: dict[str, int] | None = None
    groups: dict[str, str] | None = None
    kept: str = ""
    pools: dict[str, str] | None = None
    cells: dict[str, str] | None = None
    successors: dict[str, str] | None = None

    def inputs(self, **changes: Any) -> RolloutInputs:
        names = sorted(self.planned.keys() | self.existing.keys())
        inputs = RolloutInputs(
            targets=tuple(
                Target(
                    key=f"default/{n}",
                    group=(self.groups or {}).get(n, "default/chat"),
                    replicas=self.planned.get(n, 0),
                    workload=WORKLOAD if n in self.planned else None,
                    pool=(self.pools or {}).get(n, "l40s"),
                    is_kept=n in self.kept,
                    cells=frozenset((self.cells or {}).get(n, "").split()),
                    successors=frozenset((self.successors or {}).get(n, "").split()),
                )
                for n in names
            ),
            deployments={
                f"default/{n}": DeploymentState(f"default/{n}", c) for n, c in self.existing.items()
            },
            pods=tuple(a_pod(name, state) for name, state in self.pods.items()),
            victims=tuple(f"default/{v}" for v in self.victims),
            lost=self._pods_that_are("lost", "stranded"),
            stranded=self._pods_that_are("stranded"),
            without_room={f"default/{n}": c for n, c in (self.without_room or {}).items()},
        )
        return replace(inputs, **changes)

    def _pods_that_are(self, *states: str) -> frozenset[str]:
        return frozenset(f"default/{name}" for name, state in self.pods.items() if state in states)

    def steps(self) -> tuple[Step, ...]:
        return rollout_steps(self.inputs())


def scale(name: str, replicas: int) -> ScaleDeployment:
    return ScaleDeployment(f"default/{name}", replicas)


def mark(name: str, rank: int = 0) -> MarkVictim:
    return MarkVictim(f"default/{name}", VICTIM_COST + rank)


def pods(letter: str, *states: str) -> dict[str, str]:
    return {f"{letter}{i}": state for i, state in enumerate(states, 1)}


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        pytest.param(Scene({"a": 2}, {}, {}), [CreateDeployment(WORKLOAD, 2)], id="nothing is there yet"),
        pytest.param(Scene({"a": 0}, {}, {}), [], id="nothing is there and nothing is wanted"),
        pytest.param(Scene({"a": 2}, {"a": 2}, pods("a", "serving", "serving")), [], id="as planned"),
        pytest.param(Scene({"a": 2}, {"a": 2}, {}), [], id="Kubernetes has not made the pods yet"),
        pytest.param(Scene({"a": 3}, {"a": 2}, pods("a", "serving", "serving")), [scale("a", 3)], id="more"),
        pytest.param(
            Scene({"a": 1}, {"a": 3}, pods("a", "serving", "serving", "serving"), victims=("a2", "a3")),
            [mark("a2"), mark("a3", 1), scale("a", 1)],
            id="fewer: victims in placement's order, marked first",
        ),
        pytest.param(
            Scene(
                {"a": 1, "b": 1},
                {"a": 3, "b": 1},
                pods("a", "serving", "serving", "serving") | pods("b", "loading"),
            ),
            [],
            id="fewer, but the planned ones do not serve yet: nothing goes",
        ),
        pytest.param(
            Scene({"b": 1}, {"a": 2, "b": 1}, pods("a", "serving", "serving") | pods("b", "loading")),
            [],
            id="make before break: the new one loads, the old ones stay",
        ),
        pytest.param(
            Scene({"b": 1}, {"a": 2, "b": 1}, pods("a", "serving", "serving") | pods("b", "serving")),
            [mark("a1", 0), mark("a2", 1), scale("a", 0)],
            id="make before break: the new one serves, the old ones go",
        ),
        pytest.param(
            Scene({"b": 1}, {"a": 0, "b": 1}, pods("a", "draining") | pods("b", "serving")),
            [],
            id="an emptied Deployment stays while its last pod drains",
        ),
        pytest.param(
            Scene({"b": 1}, {"a": 0, "b": 1}, pods("b", "serving")),
            [DeleteDeployment("default/a")],
            id="an empty Deployment goes",
        ),
        pytest.param(
            Scene({"a": 0}, {"a": 0}, {}),
            [DeleteDeployment("default/a")],
            id="also where the plan lists it at 0",
        ),
        pytest.param(
            Scene({"a": 2}, {"a": 0}, {}), [scale("a", 2)], id="an empty one that is wanted again is filled"
        ),
        pytest.param(
            Scene({"a": 2}, {"a": 2}, pods("a", "serving", "lost")),
            [scale("a", 3)],
            id="a lost replica is replaced before Kubernetes knows",
        ),
        pytest.param(
            Scene({"a": 2}, {"a": 3}, pods("a", "serving", "lost", "loading")),
            [],
            id="its replacement loads: nothing more is asked for",
        ),
        pytest.param(
            Scene({"a": 2}, {"a": 3}, pods("a", "serving", "lost", "serving")),
            [mark("a2"), scale("a", 2)],
            id="its replacement serves: the lost one goes",
        ),
        pytest.param(
            Scene({"a": 2}, {"a": 2}, pods("a", "serving", "serving", "failed")),
            [],
            id="a pod that has ended counts for nothing",
        ),
        pytest.param(
            Scene({"a": 2}, {"a": 2}, pods("a", "serving", "lost", "failed")),
            [scale("a", 3)],
            id="nor does it hide a lost one",
        ),
        pytest.param(
            Scene({"a": 1}, {"a": 4}, pods("a", "lost", "lost", "lost", "lost")),
            [],
            id="where every replacement is lost too, no more are asked for",
        ),
        pytest.param(
            Scene({"a": 1}, {"a": 4}, pods("a", "stranded", "stranded", "stranded", "stranded")),
            [scale("a", 5)],
            id="but each on a node that is not ready is replaced: Kubernetes evicts none of them",
        ),
        pytest.param(
            Scene({}, {"z": 2}, pods("z", "serving", "serving"), groups={"z": ""}),
            [mark("z1", 0), mark("z2", 1), scale("z", 0)],
            id="it is not wanted any more",
        ),
        pytest.param(
            Scene({"a": 1}, {"a": 1, "z": 1}, pods("a", "loading") | pods("z", "serving"), groups={"z": ""}),
            [mark("z1", 0), scale("z", 0)],
            id="it is not wanted any more, whatever others wait for",
        ),
        pytest.param(
            Scene({}, {"z": 2}, pods("z", "serving", "serving"), kept="z"), [], id="nothing could be planned"
        ),
        pytest.param(
            Scene({}, {"z": 0}, {}, kept="z"),
            [DeleteDeployment("default/z")],
            id="nothing could be planned, and nothing is there",
        ),
    ],
)
def test_a_scene_calls_for_its_steps(scene: Scene, expected: list[Step]) -> None:
    assert list(scene.steps()) == expected


def marked(pod: PodState) -> PodState:
    return replace(pod, deletion_cost=VICTIM_COST)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param("loading", [], id="loading"),
        pytest.param("serving", [mark("a1", 0), scale("a", 0)], id="serving"),
    ],
)
def test_a_group_whose_cells_have_moved_waits_for_the_replicas_of_their_new_group(
    state: str, expected: list[Step]
) -> None:
    scene = Scene(
        {"b": 1},
        {"a": 1, "b": 1},
        pods("a", "serving") | pods("b", state),
        groups={"a": "default/old", "b": "default/new"},
        successors={"a": "default/new"},
    )
    assert list(scene.steps()) == expected


def test_a_mark_stays_until_kubernetes_has_chosen() -> None:
    scene = Scene({"a": 1}, {"a": 1}, {}, victims=("a2",))
    chosen = (a_pod("a1"), marked(a_pod("a2")))
    assert rollout_steps(scene.inputs(pods=chosen)) == ()


@pytest.mark.parametrize(
    "pods_now",
    [
        pytest.param((marked(a_pod("a1")),), id="the other one has gone"),
        pytest.param((marked(a_pod("a1")), a_pod("a2", "draining")), id="the other one is going"),
    ],
)
def test_a_mark_that_is_no_longer_due_is_lifted(pods_now: tuple[PodState, ...]) -> None:
    scene = Scene({"a": 1}, {"a": 1}, {}, victims=("a1",))
    assert rollout_steps(scene.inputs(pods=pods_now)) == (MarkVictim("default/a1", 0),)


FULL = pods("a", "serving", "serving")


@pytest.mark.parametrize(
    ("scene", "gives_way"),
    [
        pytest.param(
            Scene({"b": 2}, {"a": 2, "b": 2}, FULL | pods("b", "gated", "gated"), without_room={"b": 2}),
            "a",
            id="the new ones need the room of the old ones",
        ),
        pytest.param(
            Scene({"b": 2}, {"a": 2, "b": 2}, FULL | pods("b", "gated", "gated")),
            "",
            id="there is room: they have just not been placed",
        ),
        pytest.param(
            Scene({"b": 2}, {"a": 2, "b": 2}, FULL | pods("b", "loading", "gated"), without_room={"b": 1}),
            "",
            id="one has got room and loads: wait for it",
        ),
        pytest.param(
            Scene(
                {"b": 2},
                {"a": 2, "b": 2},
                FULL | pods("c", "draining") | pods("b", "gated", "gated"),
                without_room={"b": 2},
            ),
            "a",
            id="a pod drains, and its Deployment is not of this pool",
        ),
        pytest.param(
            Scene(
                {"b": 2},
                {"a": 2, "b": 2},
                {**FULL, "a3": "draining", **pods("b", "gated", "gated")},
                without_room={"b": 2},
            ),
            "",
            id="one of the old ones drains: wait for its room",
        ),
        pytest.param(
            Scene({"b": 2}, {"a": 1, "b": 2}, FULL | pods("b", "gated", "gated"), without_room={"b": 2}),
            "",
            id="Kubernetes has not chosen yet which one goes",
        ),
        pytest.param(
            Scene(
                {"b": 1}, {"a": 1, "b": 1}, pods("a", "serving") | pods("b", "gated"), without_room={"b": 1}
            ),
            "",
            id="the last one that serves stays",
        ),
        pytest.param(
            Scene(
                {"b": 1}, {"a": 1, "b": 1}, pods("a", "loading") | pods("b", "gated"), without_room={"b": 1}
            ),
            "a",
            id="the last one does not serve",
        ),
        pytest.param(
            Scene(
                {"b": 2, "d": 2},
                {"a": 2, "b": 2, "c": 3, "d": 2},
                FULL
                | pods("b", "gated", "gated")
                | pods("c", "serving", "serving", "serving")
                | pods("d", "gated", "gated"),
                without_room={"b": 2, "d": 2},
                groups={"c": "default/batch", "d": "default/batch"},
            ),
            "c",
            id="two groups wait for each other: the one with the larger surplus goes first",
        ),
        pytest.param(
            Scene(
                {"b": 1, "d": 1},
                {"a": 1, "b": 1, "c": 1, "d": 1},
                pods("a", "serving") | pods("b", "gated") | pods("c", "serving") | pods("d", "gated"),
                without_room={"b": 1, "d": 1},
                pools={"c": "h100", "d": "h100"},
            ),
            "c",
            id="a group waits in two pools: one of its two serving replicas stays",
        ),
        pytest.param(
            Scene(
                {"b": 2},
                {"z": 2, "b": 2},
                pods("z", "serving", "serving") | pods("b", "gated", "gated"),
                without_room={"b": 2},
                groups={"z": "default/odd"},
                kept="z",
            ),
            "z",
            id="what nothing could be planned for gives way to what was planned",
        ),
        pytest.param(
            Scene(
                {"b": 2},
                {"a": 2, "b": 2},
                FULL | pods("b", "gated", "gated"),
                without_room={"b": 2},
                pools={"a": "h100", "b": "l40s"},
            ),
            "",
            id="the old ones are in another pool: their room is of no use",
        ),
        pytest.param(
            Scene({"b": 2}, {"b": 2}, pods("b", "serving", "gated"), without_room={"b": 1}),
            "",
            id="no Deployment has a surplus",
        ),
        pytest.param(
            Scene(
                {"b": 1},
                {"a": 1, "c": 1, "b": 1},
                pods("a", "serving") | pods("b", "gated") | pods("c", "serving"),
                without_room={"b": 1},
                cells={"a": "short", "b": "short long", "c": "long"},
            ),
            "",
            id="two cells of one group: the last one that serves either of them stays",
        ),
        pytest.param(
            Scene(
                {"b": 1},
                {"a": 1, "c": 1, "b": 1},
                pods("a", "serving") | pods("b", "gated") | pods("c", "serving"),
                without_room={"b": 1},
                cells={"a": "short long", "b": "short long", "c": "long"},
            ),
            "c",
            id="two cells of one group: the one whose cell another serves too gives way",
        ),
        pytest.param(
            Scene(
                {"b": 2},
                {"a": 1, "b": 2},
                pods("a", "serving") | pods("b", "serving", "gated"),
                without_room={"b": 1},
                groups={"a": "default/old", "b": "default/new"},
                cells={"a": "short", "b": "short"},
                successors={"a": "default/new"},
            ),
            "a",
            id="a cell has moved to a group that serves it: its former group's last replica gives way",
        ),
        pytest.param(
            Scene(
                {"b": 1},
                {"a": 1, "b": 1},
                pods("a", "serving") | pods("b", "gated"),
                without_room={"b": 1},
                groups={"a": "default/old", "b": "default/new"},
                cells={"a": "short", "b": "short"},
                successors={"a": "default/new"},
            ),
            "",
            id="a cell has moved to a group that does not serve it: its former group's last replica stays",
        ),
    ],
)
def test_surplus_gives_way_where_the_plan_would_wait_for_ever(scene: Scene, gives_way: str) -> None:
    going = [s for s in scene.steps() if isinstance(s, ScaleDeployment)]
    expected = [scale(gives_way, scene.existing[gives_way] - 1)] if gives_way else []
    assert going == expected


def gated(name: str, created_s: float = 0.0) -> PodState:
    return replace(a_pod(name, "gated"), created_s=created_s)


def on(name: str, node: str, **fields: Any) -> PodState:
    return replace(a_pod(name), node=node, **fields)


PLANNED = {"default/a": {"n1": 1, "n2": 1}}
USABLE = frozenset({"n1", "n2", "n3"})


@pytest.mark.parametrize(
    ("pods_now", "lost", "usable", "expected"),
    [
        pytest.param(
            [gated("a1"), gated("a2")], "", USABLE, {"a1": "n1", "a2": "n2"}, id="both places are free"
        ),
        pytest.param(
            [gated("a1", 9.0), gated("a2", 1.0)], "", USABLE, {"a2": "n1", "a1": "n2"}, id="oldest first"
        ),
        pytest.param([on("a1", "n1"), gated("a2")], "", USABLE, {"a2": "n2"}, id="one is taken"),
        pytest.param(
            [on("a1", "", assigned_node="n1"), gated("a2")],
            "",
            USABLE,
            {"a2": "n2"},
            id="one is given, not bound",
        ),
        pytest.param([on("a1", "n1"), on("a2", "n2"), gated("a3")], "", USABLE, {}, id="no place is left"),
        pytest.param(
            [on("a1", "n1"), on("a2", "n2"), gated("a3")], "a1", USABLE, {"a3": "n1"}, id="a lost one's place"
        ),
        pytest.param(
            [on("a1", "n1"), on("a2", "n2"), gated("a3")],
            "a1",
            frozenset({"n2"}),
            {},
            id="a lost one's place, but the node takes no new pods",
        ),
        pytest.param(
            [on("a1", "n1", deleting=True), gated("a2"), gated("a3")],
            "",
            USABLE,
            {"a2": "n1", "a3": "n2"},
            id="one on its way out holds no place of the plan",
        ),
        pytest.param(
            [on("a1", "n3"), gated("a2")], "", USABLE, {"a2": "n1"}, id="one where the plan has none"
        ),
        pytest.param([gated("b1")], "", USABLE, {}, id="the plan does not know it"),
        pytest.param([replace(gated("a1"), deleting=True)], "", USABLE, {}, id="it is on its way out"),
    ],
)
def test_gated_pods_fill_the_places_that_the_plan_has_left(
    pods_now: list[PodState], lost: str, usable: frozenset[str], expected: dict[str, str]
) -> None:
    found = assign_nodes(PLANNED, pods_now, usable, frozenset(f"default/{n}" for n in lost.split()))
    assert found == tuple(PlacePod(f"default/{pod}", node) for pod, node in expected.items())
