"""Which replica holds which adapter: laws, and what load decides."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from argosy.control.adapters.residency import IMBALANCE, Replica, Residency, WantedAdapter, assign

NAMES = [f"a{number}" for number in range(14)]
WANTED = st.lists(st.sampled_from(NAMES), unique=True, max_size=14).flatmap(
    lambda names: st.lists(
        st.sampled_from([1.0, 2.0, 5.0, 50.0]), min_size=len(names), max_size=len(names)
    ).map(lambda weights: [WantedAdapter(n, w) for n, w in zip(names, weights, strict=True)])
)
HELD = st.frozensets(st.sampled_from(NAMES), max_size=6)
REPLICAS = st.lists(HELD, max_size=5).flatmap(
    lambda held: st.integers(0, 5).map(
        lambda slots: [Replica(f"p{number}", slots, names) for number, names in enumerate(held)]
    )
)


def holding(replicas: list[Replica], found: Residency) -> list[Replica]:
    return [replace(each, held=found.by_pod[each.pod]) for each in replicas]


def copies(found: Residency, name: str) -> int:
    return sum(name in names for names in found.by_pod.values())


@given(WANTED, REPLICAS)
def test_no_replica_holds_more_than_its_slots_and_each_adapter_is_served_while_they_fit(
    wanted: list[WantedAdapter], replicas: list[Replica]
) -> None:
    found = assign(wanted, replicas)
    names = {each.name for each in wanted}
    slots = sum(each.slots for each in replicas)
    assert found.by_pod.keys() == {each.pod for each in replicas}
    assert all(len(found.by_pod[each.pod]) <= each.slots for each in replicas)
    assert set().union(*found.by_pod.values()) | set(found.without_slot) == names
    assert len(found.without_slot) == max(0, len(names) - slots)
    assert all(copies(found, name) == 0 for name in found.without_slot)
    full = min(len(names) * sum(each.slots > 0 for each in replicas), slots)
    assert sum(map(len, found.by_pod.values())) <= full


@given(WANTED, REPLICAS)
def test_what_is_as_it_should_be_stays(wanted: list[WantedAdapter], replicas: list[Replica]) -> None:
    found = assign(wanted, replicas)
    assert assign(reversed(wanted), reversed(holding(replicas, found))) == found


@given(WANTED, REPLICAS, st.data())
def test_one_adapter_less_costs_no_other_a_copy_and_moves_one_only_where_a_replica_carried_twice_the_load(
    wanted: list[WantedAdapter], replicas: list[Replica], data: st.DataObject
) -> None:
    equal = [WantedAdapter(each.name) for each in wanted]
    before = assign(equal, replicas)
    gone = data.draw(st.sampled_from([*(each.name for each in equal), "none"]))
    after = assign([each for each in equal if each.name != gone], holding(replicas, before))
    for name in {each.name for each in equal} - {gone}:
        assert copies(after, name) >= copies(before, name)
    for pod, names in before.by_pod.items():
        for low in names - {gone} - after.by_pod[pod]:
            came = after.by_pod[pod] - names
            # `low` has at least one copy more than before elsewhere: its load is 1 / copies.
            assert any(copies(before, high) * IMBALANCE <= copies(after, low) for high in came)


@given(WANTED, REPLICAS)
def test_no_copy_is_worth_twice_as_much_elsewhere(
    wanted: list[WantedAdapter], replicas: list[Replica]
) -> None:
    found, weights = assign(wanted, replicas), {each.name: each.weight for each in wanted}
    for names in found.by_pod.values():
        for low in names:
            for high in weights.keys() - names - set(found.without_slot):
                after = weights[low] / max(1, copies(found, low) - 1)
                is_needed = copies(found, low) == 1
                assert is_needed or after * IMBALANCE > weights[high] / copies(found, high)


def test_the_heavier_an_adapter_the_more_replicas_hold_it() -> None:
    wanted = [WantedAdapter("hot", 10.0), *(WantedAdapter(name) for name in NAMES[:4])]
    found = assign(wanted, [Replica(f"p{number}", 2) for number in range(4)])
    assert copies(found, "hot") == 4
    assert [copies(found, name) for name in NAMES[:4]] == [1, 1, 1, 1]


def test_a_load_that_grows_takes_slots_of_copies_and_never_the_last_one() -> None:
    replicas = [Replica("p0", 2, frozenset({"a", "b"})), Replica("p1", 2, frozenset({"a", "b"}))]
    even = [WantedAdapter("a"), WantedAdapter("b"), WantedAdapter("c")]
    found = assign(even, replicas)
    assert sorted(copies(found, each.name) for each in even) == [1, 1, 2]
    grown = [WantedAdapter("a", 0.1), WantedAdapter("b", 0.1), WantedAdapter("c", 9.0)]
    after = assign(grown, holding(replicas, found))
    assert [copies(after, each.name) for each in grown] == [1, 1, 2]


def test_beyond_the_slots_what_is_held_stays_and_the_rest_is_named() -> None:
    wanted = [WantedAdapter("old"), WantedAdapter("light"), WantedAdapter("heavy", 3.0)]
    found = assign(wanted, [Replica("p0", 2, frozenset({"old"}))])
    assert found == Residency({"p0": frozenset({"old", "heavy"})}, ("light",))


def test_one_that_failed_is_tried_on_another_replica_and_keeps_a_slot_free() -> None:
    wanted = [WantedAdapter("bad"), WantedAdapter("good")]
    barred = frozenset({"bad"})
    found = assign(wanted, [Replica("p0", 2, barred=barred), Replica("p1", 2)])
    assert found.by_pod == {"p0": frozenset({"good"}), "p1": frozenset({"bad", "good"})}
    tried = [Replica(pod, 1, barred=barred, failed=barred) for pod in ("p0", "p1")]
    nowhere = assign(wanted, tried)
    assert sum(map(len, nowhere.by_pod.values())) == 1
    assert nowhere.without_slot == ()


def test_no_try_after_the_first_takes_a_slot_of_another() -> None:
    wanted = [WantedAdapter("bad"), WantedAdapter("good")]
    both, bad = frozenset({"good"}), frozenset({"bad"})
    untried = [Replica("p0", 1, both), Replica("p1", 1, both)]
    assert sorted(map(sorted, assign(wanted, untried).by_pod.values())) == [["bad"], ["good"]]
    tried = [replace(each, failed=bad) for each in untried]
    assert set(assign(wanted, tried).by_pod.values()) == {both}
    retried = [tried[0], Replica("p1", 1, failed=bad)]
    assert assign(wanted, retried).by_pod == {"p0": both, "p1": bad}
