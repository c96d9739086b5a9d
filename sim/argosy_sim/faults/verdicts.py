"""Judgements that many cases share. Input: an `Outcome`. Output: a `Judgement`. Pure."""

from __future__ import annotations

from collections import Counter

from argosy_sim.faults.outcome import Judgement, Outcome


def loses_at_most(outcome: Outcome, num: int, why: str = "") -> Judgement:
    """No more requests are lost than `num`; `why` says why any may be."""
    sentence = "no request is lost" if num == 0 else f"at most {num} requests are lost: {why}"
    kinds = Counter(f"{r.class_name}: {r.status or r.outcome}" for r in outcome.lost)
    found = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(4))
    return Judgement(sentence, len(outcome.lost) <= num, found)


def revises_at_most(outcome: Outcome, num: int) -> Judgement:
    """No more FleetPlans are made than `num`."""
    triggers = {r: p["spec"]["trigger"] for pic in outcome.pictures for p in pic.plans
                if (r := p["spec"]["revision"]) in outcome.revisions}  # fmt: skip
    found = "; ".join(f"{number}: {text}" for number, text in sorted(triggers.items()))
    return Judgement(f"at most {num} FleetPlans are made", len(outcome.revisions) <= num, found)


def keeps_pods(outcome: Outcome) -> Judgement:
    """Every engine pod of the beginning is there at the end, and no other was started."""
    began, ended = outcome.first.uids(), outcome.last.uids()
    seen = frozenset(uid for picture in outcome.pictures for uid in picture.uids())
    found = f"{len(began - ended)} went, {len(seen - began)} were started"
    return Judgement("the same engine pods run throughout", began == ended and seen == began, found)


def never_says(outcome: Outcome, pattern: str, object_: str = "", kind: str = "") -> Judgement:
    """No condition of the objects that begin with `object_` contains a pattern."""
    found = outcome.sayings(pattern, object_, kind)
    where = object_ or "any object"
    text = (
        f"{found[0].object} after {found[0].at_s:.0f} s: {found[0].reason}: {found[0].message}"
        if found
        else ""
    )
    return Judgement(f"no condition of {where} says /{pattern}/", not found, text)


def says(outcome: Outcome, pattern: str, object_: str = "", within_s: float = 1e9) -> Judgement:
    """A condition of an object that begins with `object_` contains a pattern, in time."""
    found = outcome.sayings(pattern, object_)
    in_time = any(each.at_s <= within_s for each in found)
    limit = "" if within_s == 1e9 else f" within {within_s:g} s"
    text = f"after {found[0].at_s:.1f} s: {found[0].message}" if found else "no such sentence"
    return Judgement(f"a condition of {object_ or 'an object'} says /{pattern}/{limit}", in_time, text)


def tells(outcome: Outcome, pattern: str) -> Judgement:
    """An event contains a pattern."""
    found = outcome.told(pattern)
    kinds = sorted({reason for _, reason, _ in outcome.events})
    return Judgement(
        f"an event says /{pattern}/",
        bool(found),
        found[0] if found else f"only events {', '.join(kinds) or 'none'}",
    )


def numbers_go_on(outcome: Outcome) -> Judgement:
    """Every revision made is higher than those before the disturbance."""
    lowest = min(outcome.revisions, default=outcome.last_revision_before + 1)
    found = f"{outcome.last_revision_before} was the last before, {lowest} the lowest after"
    return Judgement("FleetPlan revisions go on", lowest > outcome.last_revision_before, found)


def always_planned(outcome: Outcome) -> Judgement:
    """No FleetPlan of nothing is made."""
    empty = sorted(
        {
            p["spec"]["revision"]
            for picture in outcome.pictures
            for p in picture.plans
            if p["spec"]["revision"] in outcome.revisions and not p["spec"].get("deployments")
        }
    )
    return Judgement("no FleetPlan of nothing is made", not empty, f"revisions {empty}" if empty else "")


def keeps_capacity(outcome: Outcome, group: str) -> Judgement:
    """A sharing group never has fewer ready replicas than at the disturbance."""
    began = outcome.first.num_ready(group)
    fewest = min(picture.num_ready(group) for picture in outcome.pictures)
    return Judgement(
        f"{group} has {began} ready replicas throughout", fewest >= began, f"{fewest} at the lowest"
    )


def starts_nothing_for_nothing(outcome: Outcome) -> Judgement:
    """No engine is started and taken away before it was ready."""
    ready = {e["pod"] for e in outcome.pods if e["event"] == "ready"}
    ended = {e["pod"] for e in outcome.pods if e["event"] == "terminating"}
    bound = {e["pod"] for e in outcome.pods if e["event"] == "bound"}
    wasted = sorted((bound & ended) - ready)
    return Judgement("no engine is started that ends before it serves", not wasted, ", ".join(wasted))


def kept_text(outcome: Outcome, name: str, pattern: str, sentence: str) -> Judgement:
    """A text that the case kept contains `pattern`."""
    text = outcome.kept.get(name, "")
    return Judgement(sentence, pattern.lower() in text.lower(), text.strip()[:200] or "nothing")
