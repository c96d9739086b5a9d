"""What a plan must keep, whoever made it: the specification of the planner.

Owns `violations`, which judges a plan against its problem with arithmetic alone. Never imports a
solver and never mends a plan; it also runs in production, between the solver and the cluster.
Input: a `PlanProblem` and a `Plan`. Output: a typed violation, with a sentence, for each broken rule.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from argosy.plan.packing import fits
from argosy.plan.problem import Cell, Option, PlanProblem
from argosy.plan.solution import Plan, Shortfall, ShortfallCause, SolveStatus

RELATIVE_TOLERANCE = 1e-6
"""What rounding may cost; the solver works to 1e-9."""

NEEDLESS_SHARE = 1e-3
"""Part of a cell's rate that idle capacity must be able to serve before a shortfall is called
needless: far above rounding, far below anything that matters."""


class ViolationCode(StrEnum):
    """The rules, by name."""

    UNKNOWN_NAME = "UnknownName"
    BAD_COUNT = "BadCount"
    USELESS_REPLICA = "UselessReplica"
    SHARE_RANGE = "ShareRange"
    SHARE_WITHOUT_CAPACITY = "ShareWithoutCapacity"
    SHARE_OUTSIDE_GROUP = "ShareOutsideGroup"
    SHARE_WITHOUT_REPLICA = "ShareWithoutReplica"
    NOT_SERVED = "NotServed"
    SHORTFALL_WRONG = "ShortfallWrong"
    SHORTFALL_NEEDLESS = "ShortfallNeedless"
    OVERLOAD = "Overload"
    BELOW_FLOOR = "BelowFloor"
    FLOOR_NEEDLESSLY_UNMET = "FloorNeedlesslyUnmet"
    ABOVE_CEILING = "AboveCeiling"
    OVER_BUDGET = "OverBudget"
    COST_WRONG = "CostWrong"
    DOES_NOT_FIT = "DoesNotFit"
    REPORT_WRONG = "ReportWrong"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: which, of what (a cell, option, pool, ...), and the sentence."""

    code: ViolationCode
    subject: str
    message: str


def violations(problem: PlanProblem, plan: Plan) -> tuple[Violation, ...]:
    """Every rule that `plan` breaks; empty for a plan that may be acted on."""
    shape = (*_names(problem, plan), *_counts(plan))
    if shape:
        return shape  # the rules below count on known names and whole numbers
    judge = _Judge(problem, plan)
    return (
        *judge.shares(),
        *judge.service(),
        *judge.shortfalls(),
        *judge.load(),
        *judge.limits(),
        *judge.floors(),
        *judge.packing(),
        *_report(plan),
    )


def _names(problem: PlanProblem, plan: Plan) -> Iterator[Violation]:
    cells = {c.name for c in problem.cells}
    options = {o.name for o in problem.options}
    named = [("option", name, name in options) for name in plan.replicas]
    named += [("cell", cell, cell in cells) for cell, _ in plan.shares]
    named += [("option", option, option in options) for _, option in plan.shares]
    named += [("cell", s.cell, s.cell in cells) for s in plan.shortfalls]
    named += [("group", g, g in problem.min_replicas) for g in plan.unmet_floors]
    for kind, name, is_known in named:
        if not is_known:
            yield Violation(ViolationCode.UNKNOWN_NAME, name, f"the problem has no {kind} {name}")


def _counts(plan: Plan) -> Iterator[Violation]:
    for name, count in (*plan.replicas.items(), *plan.unmet_floors.items()):
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            message = f"{name} has {count!r} replicas: a whole number of at least 0 is needed"
            yield Violation(ViolationCode.BAD_COUNT, name, message)


def _report(plan: Plan) -> Iterator[Violation]:
    report = plan.report
    if report.status not in set(SolveStatus):
        yield Violation(ViolationCode.REPORT_WRONG, "status", f"no solve ends as {report.status!r}")
    figures = {"objective": report.objective, "bound": report.bound, "gap": report.gap}
    for name, value in figures.items():
        if not math.isfinite(value):
            yield Violation(ViolationCode.REPORT_WRONG, name, f"the report's {name} is {value}")
    if report.bound > report.objective * (1 + RELATIVE_TOLERANCE) + RELATIVE_TOLERANCE or report.gap < 0:
        message = f"bound {report.bound} above objective {report.objective}, or gap {report.gap} below 0"
        yield Violation(ViolationCode.REPORT_WRONG, "bound", message)


class _Judge:
    """A problem and a plan whose names and counts are sound, with the sums the rules share."""

    def __init__(self, problem: PlanProblem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.cells = {c.name: c for c in problem.cells}
        self.options = {o.name: o for o in problem.options}
        self.missing_per_s = {s.cell: s.missing_per_s for s in plan.shortfalls}
        self.loads = {name: self._load(name) for name in self.options}
        self.cost_usd_per_hour = math.fsum(o.price_usd_per_hour * self.count(o) for o in problem.options)

    def count(self, option: Option) -> int:
        return self.plan.replicas.get(option.name, 0)

    def capacity(self, cell: Cell, option: Option) -> float:
        """Requests/s; 0 where the option cannot serve the cell, or is of another group."""
        if cell.group != option.group:
            return 0.0
        return self.problem.capacity_per_s.get((cell.name, option.name), 0.0)

    def _load(self, option: str) -> float:
        """Replicas' worth of work sent to an option; infinite where it cannot serve what it gets."""
        worth = 0.0
        for (cell, receiver), share in self.plan.shares.items():
            if receiver == option:
                capacity = self.capacity(self.cells[cell], self.options[option])
                rate = self.cells[cell].rate_per_s * share
                worth += rate / capacity if capacity > 0 else (math.inf if rate > 0 else 0.0)
        return worth

    def shares(self) -> Iterator[Violation]:
        """Shares lie in range and go only where they can be served."""
        for (cell_name, option_name), share in self.plan.shares.items():
            cell, option = self.cells[cell_name], self.options[option_name]
            pair = f"{cell_name} -> {option_name}"
            if not 0 <= share <= 1 + RELATIVE_TOLERANCE:
                yield Violation(ViolationCode.SHARE_RANGE, pair, f"the share of {pair} is {share}")
            elif share == 0:
                continue
            elif cell.group != option.group:
                message = f"{pair}: cell of group {cell.group}, option of group {option.group}"
                yield Violation(ViolationCode.SHARE_OUTSIDE_GROUP, pair, message)
            elif self.capacity(cell, option) <= 0:
                message = f"{option_name} cannot serve {cell_name} within its SLO"
                yield Violation(ViolationCode.SHARE_WITHOUT_CAPACITY, pair, message)
            elif self.count(option) == 0:
                message = f"{option_name} gets {share:.4f} of {cell_name} and has no replica"
                yield Violation(ViolationCode.SHARE_WITHOUT_REPLICA, pair, message)

    def service(self) -> Iterator[Violation]:
        """Each cell is served whole, or its shortfall is booked exactly."""
        for cell in self.cells.values():
            total = math.fsum(s for (c, _), s in self.plan.shares.items() if c == cell.name)
            missing = self.missing_per_s.get(cell.name, 0.0)
            booked = missing / cell.rate_per_s if cell.rate_per_s > 0 else 0.0
            if cell.rate_per_s == 0 and not self._has_server(cell):
                booked = 1.0  # nothing asked, nothing there: no weights are due
            if not abs(total + booked - 1) <= RELATIVE_TOLERANCE:
                message = f"{total:.6f} of {cell.name} is served and {booked:.6f} booked as missing"
                yield Violation(ViolationCode.NOT_SERVED, cell.name, message)

    def _has_server(self, cell: Cell) -> bool:
        return any(self.count(o) and self.capacity(cell, o) > 0 for o in self.options.values())

    def shortfalls(self) -> Iterator[Violation]:
        """Shortfalls are positive, named once, true to their cause, and needed."""
        named = Counter(s.cell for s in self.plan.shortfalls)
        for shortfall in self.plan.shortfalls:
            cell = self.cells[shortfall.cell]
            wrong = self._wrong(shortfall, cell)
            if named[shortfall.cell] > 1:
                wrong = "it is booked twice"
            if wrong:
                message = f"the shortfall of {cell.name} is wrong: {wrong}"
                yield Violation(ViolationCode.SHORTFALL_WRONG, cell.name, message)
            elif cure := self._idle_cure(cell):
                message = f"{cell.name} lacks {shortfall.missing_per_s:.4g} req/s although {cure}"
                yield Violation(ViolationCode.SHORTFALL_NEEDLESS, cell.name, message)

    def _wrong(self, shortfall: Shortfall, cell: Cell) -> str:
        missing = shortfall.missing_per_s
        able = [o for o in self.options.values() if self.capacity(cell, o) > 0]
        hosted = [o for o in able if o.gpus <= max(self._nodes(o.pool), default=0)]
        if not 0 < missing <= cell.rate_per_s * (1 + RELATIVE_TOLERANCE):
            return f"{missing} req/s missing of {cell.rate_per_s}"
        if not shortfall.message.strip() or shortfall.cause not in set(ShortfallCause):
            return "it has no cause or no sentence"
        if (shortfall.cause is ShortfallCause.NO_VARIANT) != (not able):
            return f"cause {shortfall.cause}, and {len(able)} options can serve the cell"
        if able and (shortfall.cause is ShortfallCause.NO_NODES) != (not hosted):
            return f"cause {shortfall.cause}, and {len(hosted)} of its options fit a node"
        return ""

    def _idle_cure(self, cell: Cell) -> str:
        """What could serve more of the cell and is not used; empty where nothing could."""
        worth_having = NEEDLESS_SHARE * cell.rate_per_s
        if self.missing_per_s[cell.name] <= worth_having:
            return ""
        for option in self.options.values():
            capacity = self.capacity(cell, option)
            idle = self.problem.headroom * self.count(option) - self.loads[option.name]
            if capacity * idle > worth_having:
                return f"{option.name} has {capacity * idle:.4g} req/s to spare"
            if capacity * self.problem.headroom > worth_having and self._has_room_for_one_more(option):
                return f"one more replica of {option.name} would be allowed and fit"
        return ""

    def load(self) -> Iterator[Violation]:
        """No replica is planned for more than the headroom's part of its capacity."""
        for option in self.options.values():
            limit = self.problem.headroom * self.count(option)
            if not self.loads[option.name] <= limit * (1 + RELATIVE_TOLERANCE) + RELATIVE_TOLERANCE**2:
                work = self.loads[option.name]
                message = f"{option.name} gets the work of {work:.4f} replicas, allowed are {limit:.4f}"
                yield Violation(ViolationCode.OVERLOAD, option.name, message)

    def limits(self) -> Iterator[Violation]:
        """Ceilings, budget, the stated cost, and no replica that can serve nobody."""
        for model, ceiling in self.problem.max_replicas.items():
            count = self._model_count(model)
            if count > ceiling:
                message = f"model {model} has {count} replicas, allowed are {ceiling}"
                yield Violation(ViolationCode.ABOVE_CEILING, model, message)
        budget = self.problem.budget_usd_per_hour
        if budget is not None and not _at_most(self.cost_usd_per_hour, budget):
            message = f"${self.cost_usd_per_hour:.4f}/h is over the budget of ${budget:.4f}/h"
            yield Violation(ViolationCode.OVER_BUDGET, "budget", message)
        stated = self.plan.cost_usd_per_hour
        if not math.isclose(stated, self.cost_usd_per_hour, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-9):
            message = f"${stated}/h is stated, the replicas cost ${self.cost_usd_per_hour}/h"
            yield Violation(ViolationCode.COST_WRONG, "cost", message)
        for option in self.options.values():
            if self.count(option) and not self._is_useful(option):
                message = (
                    f"{option.name} has {self.count(option)} replicas and can serve no cell of its group"
                )
                yield Violation(ViolationCode.USELESS_REPLICA, option.name, message)

    def _is_useful(self, option: Option) -> bool:
        return any(self.capacity(cell, option) > 0 for cell in self.cells.values())

    def _model_count(self, model: str) -> int:
        return sum(self.count(o) for o in self.options.values() if o.model == model)

    def floors(self) -> Iterator[Violation]:
        """Each group has its floor, or books exactly what is missing because nothing more fits."""
        for group, floor in self.problem.min_replicas.items():
            members = [o for o in self.options.values() if o.group == group]
            count = sum(self.count(o) for o in members)
            unmet = max(0, floor - count)
            booked = self.plan.unmet_floors.get(group, 0)
            if booked != unmet:
                message = (
                    f"group {group} has {count} of at least {floor} replicas and books {booked} as unmet"
                )
                yield Violation(ViolationCode.BELOW_FLOOR, group, message)
            for option in members:
                if unmet and self._is_useful(option) and self._has_room_for_one_more(option):
                    message = f"group {group} is below its floor although {option.name} has room for one more"
                    yield Violation(ViolationCode.FLOOR_NEEDLESSLY_UNMET, group, message)

    def packing(self) -> Iterator[Violation]:
        """Whole parallel groups fit on the nodes of their pool."""
        for pool in sorted({o.pool for o in self.options.values()}):
            groups = self._groups(pool)
            if not fits(self._nodes(pool), groups):
                asked = " and ".join(f"{n} groups of {g} GPUs" for g, n in sorted(groups.items()) if n)
                message = f"pool {pool} with nodes of {sorted(self._nodes(pool))} GPUs cannot hold {asked}"
                yield Violation(ViolationCode.DOES_NOT_FIT, pool, message)

    def _nodes(self, pool: str) -> tuple[int, ...]:
        return next((p.node_gpus for p in self.problem.pools if p.name == pool), ())

    def _groups(self, pool: str) -> Counter[int]:
        groups: Counter[int] = Counter()
        for option in self.options.values():
            if option.pool == pool:
                groups[option.gpus] += self.count(option)
        return groups

    def _has_room_for_one_more(self, option: Option) -> bool:
        budget = self.problem.budget_usd_per_hour
        ceiling = self.problem.max_replicas.get(option.model)
        return (
            (ceiling is None or self._model_count(option.model) < ceiling)
            and (budget is None or self.cost_usd_per_hour + option.price_usd_per_hour <= budget)
            and fits(self._nodes(option.pool), self._groups(option.pool) + Counter({option.gpus: 1}))
        )


def _at_most(value: float, limit: float) -> bool:
    return value <= limit * (1 + RELATIVE_TOLERANCE) + 1e-9
