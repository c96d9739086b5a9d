"""What the operator can see of each kind of object, and since when it does not see an object.

Owns the words for a picture that is not complete: of a kind, whether its objects could be listed and
when they were last compared with a listing; of an object, whether it was deleted or is only not seen;
and the rule that tells the two apart. Input: what the watches found, as data. Output: sentences for
users, and yes or no. What a decision does with it is `control.picture`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from argosy.api.crd.resource import GROUP
from argosy.api.kinds import kind_of

SECOND_LOOK_S = 30.0
"""An absence that no DELETED event explains is believed at the second look, one planning period later."""

OUTDATED_AFTER_S = 120.0
"""A kind that was not compared with a listing for so long (four of them are due) may have changed unseen."""

_RESTORED = (
    "the API server was restored to an earlier state ({problem}): the objects of {kinds} are listed anew"
)

ROLE = "charts/argosy/files/operator-rbac.yaml"
INSTALL = "kubectl apply --server-side -f crds/"


class KindState(StrEnum):
    """Whether the objects of a kind can be listed."""

    SEEN = "Seen"
    UNSYNCED = "Unsynced"
    """No listing has been compared yet."""
    MISSING = "Missing"
    """The API server does not have the kind: its CustomResourceDefinition is not installed."""
    FORBIDDEN = "Forbidden"
    """The operator's role does not allow it to list the kind."""
    TERMINATING = "Terminating"
    """Its CustomResourceDefinition is being deleted, and all of its objects with it."""
    RESTORED = "Restored"
    """The API server was restored to an earlier state, and no listing has been compared since."""


@dataclass(frozen=True, slots=True)
class CrdLook:
    """What one look at a CustomResourceDefinition found.

    exists:        None where the API server did not say
    created_s:     seconds since the epoch; None where it does not exist or that is not known
    is_terminating: it is being deleted
    problem:       why there is no answer, in the API server's words
    """

    exists: bool | None = None
    created_s: float | None = None
    is_terminating: bool = False
    problem: str = ""

    def vouches_since(self, at_s: float | None) -> bool:
        """Whether the kind has been there, as the same definition, since this instant (epoch seconds).

        An object that was made since then and is gone was deleted by a user; one that is older went
        with an earlier definition of its kind.
        """
        if not self.exists or self.is_terminating or self.created_s is None or at_s is None:
            return False
        return self.created_s <= at_s


@dataclass(frozen=True, slots=True)
class KindSeen:
    """What is known of one kind.

    compared_s: when it was last compared with a listing (seconds of the process's monotonic clock)
    crd:        the last look at its definition; of Kubernetes' own kinds there is none
    problem:    why it cannot be listed, in the API server's words
    unwatched:  why no watch reports its changes (listings find them seconds later); else empty
    """

    plural: str
    state: KindState = KindState.UNSYNCED
    compared_s: float | None = None
    crd: CrdLook = CrdLook()
    problem: str = ""
    unwatched: str = ""

    def sentence(self, monotonic_s: float) -> str:
        """Why nothing may be concluded from what is absent, with the remedy; empty where all is seen."""
        kind = kind_of(self.plural)
        definition = f"{self.plural}.{GROUP}"
        match self.state:
            case KindState.UNSYNCED:
                return f"the objects of kind {kind.name} have not been listed yet"
            case KindState.MISSING:
                return f"the API server has no kind {kind.name} ({definition}); install it: {INSTALL}"
            case KindState.TERMINATING:
                return (
                    f"the CustomResourceDefinition {definition} is being deleted; once it is gone, install it"
                    f" again: {INSTALL}"
                )
            case KindState.FORBIDDEN:
                group = kind.group_version[0] or '""'
                return (
                    f"the operator may not list {self.plural} ({self.problem}); allow it list and watch"
                    f" on {self.plural} in the API group {group}, as {ROLE} does"
                )
            case KindState.RESTORED:
                return _RESTORED.format(problem=self.problem, kinds=f"kind {kind.name}")
            case KindState.SEEN:
                return self._outdated(monotonic_s)

    def _outdated(self, monotonic_s: float) -> str:
        if self.compared_s is None or monotonic_s - self.compared_s <= OUTDATED_AFTER_S:
            return ""
        return (
            f"the objects of kind {kind_of(self.plural).name} have not been compared with a listing for more"
            f" than {OUTDATED_AFTER_S:.0f} s; check that the API server answers the operator"
        )


class ObjectRef(NamedTuple):
    """An object of a kind, by plural and key."""

    plural: str
    key: str

    def __str__(self) -> str:
        return f"{kind_of(self.plural).name} {self.key}"


@dataclass(frozen=True, slots=True)
class Seen:
    """How complete a snapshot is. Empty: everything is seen, as where objects are read from files.

    kinds:    by plural
    unseen:   objects of which the snapshot has the last known version, as they are not seen any more
    outdated: objects that cannot be read any more, of which the snapshot has the last readable version
    deleted:  objects that users have deleted while this process ran, and that are still gone
    parting:  objects that users have deleted while something ran for them, each with the end of its grace
              (seconds since the epoch): the snapshot has its last version, unless it is absent as well
    ended:    classes that left a moment ago: routes have them until a plan without them is applied
    absent:   objects that a plan or a Deployment names and of which no version is known: not seen
    """

    kinds: Mapping[str, KindSeen] = field(default_factory=dict)
    unseen: frozenset[ObjectRef] = frozenset()
    outdated: frozenset[ObjectRef] = frozenset()
    deleted: frozenset[ObjectRef] = frozenset()
    absent: frozenset[ObjectRef] = frozenset()
    parting: Mapping[ObjectRef, float] = field(default_factory=dict)
    ended: frozenset[ObjectRef] = frozenset()

    def problems(self, monotonic_s: float) -> tuple[str, ...]:
        """What cannot be seen now, in sentences: one for all kinds that are not installed."""
        return problems(self.kinds.values(), monotonic_s)


_TOGETHER = {
    KindState.MISSING: f"the API server has no kinds {{kinds}} (group {GROUP}); install them: {INSTALL}",
    KindState.UNSYNCED: "the objects of kinds {kinds} have not been listed yet",
}
"""One sentence for several kinds in one state."""


def problems(kinds: Iterable[KindSeen], monotonic_s: float) -> tuple[str, ...]:
    """What cannot be seen of these kinds, in sentences: one for all that are not installed, one for all
    that are not listed yet, or not since the API server was restored. A kind that is not needed is left out.
    """
    every = tuple(kind for kind in kinds if kind_of(kind.plural).is_needed)
    found, told = [], set[KindState]()
    restored = [kind for kind in every if kind.state is KindState.RESTORED]
    if len(restored) > 1:
        every_name = ", ".join(kind_of(kind.plural).name for kind in restored)
        found.append(_RESTORED.format(problem=restored[0].problem, kinds=f"kinds {every_name}"))
        told.add(KindState.RESTORED)
    for state, sentence in _TOGETHER.items():
        names = [kind_of(kind.plural).name for kind in every if kind.state is state]
        if len(names) > 1:
            found.append(sentence.format(kinds=", ".join(names)))
            told.add(state)
    others = (kind.sentence(monotonic_s) for kind in every if kind.state not in told)
    return (*found, *filter(None, others))
