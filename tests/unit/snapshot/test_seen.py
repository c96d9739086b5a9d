"""What is said of a kind that cannot be seen, and when an object counts as deleted."""

from __future__ import annotations

import pytest

from argosy.snapshot.seen import OUTDATED_AFTER_S, CrdLook, KindSeen, KindState, ObjectRef, Seen


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param(
            KindSeen("workloadclasses", KindState.MISSING),
            ["WorkloadClass", "workloadclasses.argosy.dev", "kubectl apply --server-side -f crds/"],
            id="its definition is not installed",
        ),
        pytest.param(
            KindSeen("gpupools", KindState.TERMINATING),
            ["gpupools.argosy.dev", "deleted", "crds/"],
            id="it goes",
        ),
        pytest.param(
            KindSeen("nodes", KindState.FORBIDDEN, problem="GET /api/v1/nodes: 403 Forbidden"),
            ["list nodes", "403 Forbidden", "allow it list and watch", "operator-rbac.yaml"],
            id="the role does not allow it",
        ),
        pytest.param(KindSeen("pods"), ["Pod", "not been listed yet"], id="nothing was listed yet"),
        pytest.param(
            KindSeen("pods", KindState.SEEN, compared_s=0.0),
            ["Pod", f"{OUTDATED_AFTER_S:.0f} s"],
            id="too old",
        ),
    ],
)
def test_a_kind_that_cannot_be_seen_is_named_with_its_remedy(kind: KindSeen, words: list[str]) -> None:
    sentence = kind.sentence(OUTDATED_AFTER_S + 1.0)
    assert [word for word in words if word not in sentence] == []


def test_a_kind_that_was_compared_a_moment_ago_is_seen() -> None:
    assert KindSeen("pods", KindState.SEEN, compared_s=10.0).sentence(20.0) == ""


@pytest.mark.parametrize("state", [KindState.MISSING, KindState.UNSYNCED])
def test_kinds_in_one_state_make_one_sentence(state: KindState) -> None:
    kinds = {p: KindSeen(p, state) for p in ("fleets", "gpupools", "servedmodels")}
    (sentence,) = Seen(kinds).problems(0.0)
    assert "Fleet, GPUPool, ServedModel" in sentence


@pytest.mark.parametrize(
    ("crd", "made_s", "expected"),
    [
        pytest.param(CrdLook(True, 100.0), 200.0, True, id="made under this definition"),
        pytest.param(CrdLook(True, 100.0), 100.0, True, id="made in the second of the definition's creation"),
        pytest.param(CrdLook(True, 300.0), 200.0, False, id="made under an earlier definition"),
        pytest.param(CrdLook(True, 100.0, is_terminating=True), 200.0, False, id="the definition is going"),
        pytest.param(CrdLook(exists=False), 200.0, False, id="the definition is gone"),
        pytest.param(CrdLook(problem="403"), 200.0, False, id="the definition may not be looked at"),
        pytest.param(CrdLook(True, 100.0), None, False, id="it is not known when it was made"),
    ],
)
def test_a_definition_vouches_only_for_objects_that_were_made_under_it(
    crd: CrdLook, made_s: float | None, expected: bool
) -> None:
    assert crd.vouches_since(made_s) is expected


def test_an_object_is_named_by_its_kind_and_key() -> None:
    assert str(ObjectRef("workloadclasses", "default/chat")) == "WorkloadClass default/chat"
