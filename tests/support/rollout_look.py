"""One look at a roll-out, put together by hand: a class, its plan, and the pods beside it.

Owns `a_look` and its pods. Input: what a test is about. Output: a `Reported`; nothing is decided.
"""

from __future__ import annotations

from typing import Any

from builders import a_class, a_model, a_pod, a_pool
from pictures import Entry, a_picture, a_plan

from argosy.control.candidates.resolve import Resolution
from argosy.control.cells import RouteCell, RouteCells
from argosy.control.sizing import Sizing
from argosy.control.state.owners import Owners
from argosy.control.status.reported import Reported
from argosy.keys import CellName, ClassKey, DeploymentKey, GroupName, ModelKey
from argosy.place.solution import Placement, Unplaced
from argosy.plan.solution import Plan
from argosy.snapshot.cluster import PodState

CHAT = ClassKey("default/chat")
GROUP, MODEL = GroupName("default/chat"), ModelKey("default/llama")
OLD, NEW = DeploymentKey("default/old"), DeploymentKey("default/new")
MINE = Owners(GROUP, MODEL, "l40s")


def a_look(
    *pods: PodState,
    replicas: int = 2,
    exchange: str = "BriefOutage",
    placement: Placement | None = None,
    lost: frozenset[str] = frozenset(),
    more: tuple[Entry, ...] = (),
    owners: Owners = MINE,
) -> Reported:
    """The plan wants replicas of the Deployment `new`; pods of `old` are of the former plan."""
    snapshot = a_picture(
        pods=pods, classes=[a_class()], models=[a_model(exchange=exchange)], pools=[a_pool()]
    )
    cells = RouteCells((RouteCell(CellName(CHAT), CHAT, GROUP),))
    return Reported(
        sizing=Sizing(snapshot, cells, Resolution({}, {}), {}, {}, lost),
        plan=Plan({}, {}, (), 0.0, None),  # type: ignore[arg-type]
        placement=placement or Placement({}, {}, (), ()),
        follow=a_plan(Entry("new", "chat", ("chat",), replicas=replicas), *more),
        owners={OLD: owners, NEW: MINE},
    )


def former(name: str = "old-0", **fields: Any) -> PodState:
    return a_pod(name, **{"deployment": OLD, **fields})


def new(name: str = "new-0", **fields: Any) -> PodState:
    return a_pod(name, **{"deployment": NEW, **fields})


def loading(name: str = "new-0", **fields: Any) -> PodState:
    return new(name, **{"ready": False, **fields})


def without_room(deployment: DeploymentKey = NEW) -> Placement:
    return Placement({}, {}, (), (an_unplaced(deployment),))


def an_unplaced(deployment: DeploymentKey = NEW) -> Unplaced:
    return Unplaced(deployment, 1, "no node has a free GPU.")
