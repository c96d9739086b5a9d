"""Prices, rates and SLOs that flip together, of several classes: few revisions, no replica started in vain.

The law, for whatever flips: in T seconds at most ceil(T / window) + 1 revisions that are not additions, and
no replica that was started is removed within the window after its start.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from builders import a_class, a_fleet, a_model, a_pool
from fake_perf import StrictPerf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from virtual_clock import in_virtual_time
from virtual_shell import VirtualShell, node_object

from argosy.api import CustomResource
from argosy.api.schema.timestamp import seconds_of

WINDOW_S = 20
LAST_S = 80

Flip = Callable[[bool], CustomResource]
"""An object as it is at first (False), and as it becomes (True)."""

EASY_MS, STRICT_MS, UNREACHABLE_MS = 2000, 300, 60
"""The last one is unreachable on an L40S only."""


def _class(name: str, rate_per_s: float, bound_ms: int = EASY_MS, priority: int = 100) -> CustomResource:
    return a_class(name, rate_per_s, slo={"ttft": {"p95Milliseconds": bound_ms}}, priority=priority)


FLIPS: Mapping[str, Flip] = {
    "rate": lambda on: _class("chat", 8.0 if on else 4.0),
    "high rate": lambda on: _class("chat", 24.0 if on else 4.0),
    "slo": lambda on: _class("chat", 4.0, STRICT_MS if on else EASY_MS),
    "unreachable slo": lambda on: _class("chat", 8.0, UNREACHABLE_MS if on else EASY_MS),
    "rate and slo": lambda on: _class("chat", 8.0 if on else 4.0, EASY_MS if on else STRICT_MS),
    "rate of a second": lambda on: _class("batch", 4.0 if on else 10.0),
    "slo of a second": lambda on: _class("batch", 4.0, STRICT_MS if on else EASY_MS),
    "rate and slo of a third": lambda on: _class("code", 6.0 if on else 2.0, STRICT_MS if on else EASY_MS),
    "rate of a class with priority": lambda on: _class("vip", 12.0 if on else 3.0, priority=200),
    "price": lambda on: a_pool("h100", "H100", priceUsdPerHour=0.5 if on else 6.0),
    "price of the other pool": lambda on: a_pool(priceUsdPerHour=3.0 if on else 0.9),
}


def _seconds(stamp: str) -> float:
    found = seconds_of(stamp)
    assert found is not None
    return found


class Watched:
    """What a user sees of a fleet in which something flips."""

    def __init__(self, shell: VirtualShell) -> None:
        self.shell, self.began_s = shell, shell.clock.now_s()
        self.started_s: dict[str, float] = {}
        self.lived_s: dict[str, float] = {}
        shell.server.watchers.append(self._seen)
        self.plans_before = set(shell.server.of("fleetplans"))

    def _seen(self, type: str, plural: str, item: dict[str, object]) -> None:
        metadata = item["metadata"]
        assert isinstance(metadata, dict)
        if plural != "pods":
            return
        now_s, name = self.shell.clock.now_s(), metadata["name"]
        if type == "ADDED":
            self.started_s[name] = now_s
        elif type == "DELETED" and name in self.started_s:
            self.lived_s[name] = now_s - self.started_s[name]

    def counts(self) -> list[dict[str, int]]:
        """Of the revision before the flips and each one since, by Deployment."""
        plans = [plan["spec"] for _, plan in sorted(self.shell.server.of("fleetplans").items())]
        all_counts = [{d["name"]: d["replicas"] for d in spec["deployments"]} for spec in plans]
        return all_counts[len(self.plans_before) - 1 :]

    def not_additions(self) -> int:
        """Revisions since that start nothing, or remove something."""
        found = self.counts()
        return sum(not _is_addition(a, b) for a, b in itertools.pairwise(found))


def _is_addition(before: Mapping[str, int], after: Mapping[str, int]) -> bool:
    names = before.keys() | after.keys()
    changes = [after.get(name, 0) - before.get(name, 0) for name in names]
    return min(changes) >= 0 and max(changes) > 0


async def a_shell(directory: Path, flips: Mapping[str, float], num_nodes: int = 8) -> VirtualShell:
    """Chat, batch, code and vip, of one model, on two pools; nothing has changed for long."""
    shell = VirtualShell(directory)
    shell.decider.perf = StrictPerf()
    for number in range(num_nodes):
        shell.server.put("nodes", node_object(f"l40s-{number}"))
        shell.server.put("nodes", node_object(f"h100-{number}", "h100"))
    fleet = a_fleet(stabilizationSeconds=WINDOW_S, intervals={"mediumSeconds": 600}, revisionHistoryLimit=100)
    shell.apply(fleet, a_model(), a_pool(), a_pool("h100", "H100", priceUsdPerHour=6.0))
    classes = (("chat", 4.0, 100), ("batch", 4.0, 100), ("code", 2.0, 100), ("vip", 3.0, 200))
    shell.apply(*(_class(name, rate_per_s, priority=priority) for name, rate_per_s, priority in classes))
    shell.apply(*(FLIPS[name](False) for name in flips))
    return shell


async def flipped(shell: VirtualShell, flips: Mapping[str, float]) -> Watched:
    """Each flips again and again, after so many seconds, for as long as the test lasts."""
    async with shell.running():
        await shell.clock.sleep(200.0)
        watched = Watched(shell)
        for second in range(LAST_S):
            due = [name for name, every_s in flips.items() if second % every_s == 0]
            shell.apply(*(FLIPS[name](second // flips[name] % 2 == 0) for name in due))
            await shell.clock.sleep(1.0)
    return watched


def assert_law(watched: Watched) -> None:
    assert watched.not_additions() <= math.ceil(LAST_S / WINDOW_S) + 1, watched.counts()
    in_vain = {name: lived_s for name, lived_s in watched.lived_s.items() if lived_s < WINDOW_S}
    assert not in_vain, watched.counts()


ALL_KINDS = [
    pytest.param({"rate": 5}, id="a rate alone"),
    pytest.param({"slo": 5}, id="an SLO alone"),
    pytest.param({"unreachable slo": 5}, id="an SLO that one pool cannot keep"),
    pytest.param({"rate and slo": 5}, id="rate and SLO of one class"),
    pytest.param({"rate and slo": 5, "rate of a second": 5}, id="SLO and rates of two classes"),
    pytest.param({"rate and slo": 5, "rate of a second": 7, "price": 6}, id="price with SLO"),
    pytest.param({"rate and slo": 5, "slo of a second": 5, "rate and slo of a third": 5}, id="three classes"),
    pytest.param({"slo": 5, "slo of a second": 7, "rate and slo of a third": 3}, id="groups merge and split"),
    pytest.param({"rate of a class with priority": 5, "rate": 7}, id="a class with priority"),
]


@pytest.mark.parametrize("flips", ALL_KINDS)
@in_virtual_time
async def test_what_flips_every_few_seconds_makes_few_revisions_and_starts_nothing_in_vain(
    flips: dict[str, float], tmp_path: Path
) -> None:
    watched = await flipped(await a_shell(tmp_path, flips), flips)
    assert_law(watched)


@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    flips=st.dictionaries(
        st.sampled_from(sorted(FLIPS)), st.sampled_from([3, 5, 8, 13]), min_size=1, max_size=4
    ),
    num_nodes=st.sampled_from([3, 8]),
)
def test_whatever_flips_together_the_law_holds(flips: dict[str, float], num_nodes: int) -> None:
    @in_virtual_time
    async def run(directory: Path) -> None:
        assert_law(await flipped(await a_shell(directory, flips, num_nodes), flips))

    with TemporaryDirectory() as directory:
        run(Path(directory))
