"""The rules that every plan must keep: the specification of the planner.

Owns `violations`, which judges a plan against its problem with arithmetic alone. It imports no
solver and does not use `facts`, and it also runs in production, between the solver and the cluster.
Input: a `PlanProblem` and a `Plan`, however malformed. Output: for each broken rule a `Violation`,
whose text is a sentence with the value found and the value needed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from argosy.keys import DeploymentKey, GroupName, ModelKey
from argosy.plan.explain.words import counted
from argosy.plan.figures import shown
from argosy.plan.malformed import malformed, report_violations
from argosy.plan.packing import fits
from argosy.plan.problem import Cell, Option, PlanProblem
from argosy.plan.solution import Plan, Shortfall, ShortfallCause
from argosy.plan.violation import RELATIVE_TOLERANCE, Violation, ViolationCode, wrong_shortfall

NEEDLESS_SHARE = 1e-3
"""Part of a cell's rate that idle capacity must be able to serve before a shortfall is called
needless: far above rounding, far below any rate that matters."""


def violations(problem: PlanProblem, plan: Plan) -> tuple[Violation, ...]:
    """Every rule that `plan` breaks; empty for a plan that may be acted on.

    Raises nothing, whatever the names and numbers in the plan: a malformed plan is reported.
    """
    if found := malformed(problem, plan):
        return found  # the rules below look names up and add numbers
    judge = _Judge(problem, plan)
    return (
        *judge.shares(),
        *judge.service(),
        *judge.shortfalls(),
        *judge.load(),
        *judge.limits(),
        *judge.usefulness(),
        *judge.staying(),
        *judge.floors(),
        *judge.packing(),
        *judge.to_come(),
        *report_violations(plan),
    )


class _Judge:
    """A problem and a well-formed plan, with the sums that several rules need."""

    def __init__(self, problem: PlanProblem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.cells = {c.name: c for c in problem.cells}
        self.options = {o.name: o for o in problem.options}
        self.missing_per_s = {s.cell: s.missing_per_s for s in plan.shortfalls}
        self.loads = self._loads()
        self.cost_usd_per_hour = math.fsum(o.price_usd_per_hour * self.count(o) for o in problem.options)

    def count(self, option: Option) -> int:
        return self.plan.replicas.get(option.name, 0)

    def _with_replicas(self, option: Option) -> str:
        return f"Deployment {option.name} has {counted(self.count(option), 'replica')}"

    def capacity(self, cell: Cell, option: Option) -> float:
        """Requests/s; 0 where the option cannot serve the cell, or is of another group."""
        if cell.group != option.group:
            return 0.0
        return self.problem.capacity_per_s.get((cell.name, option.name), 0.0)

    def _loads(self) -> dict[DeploymentKey, float]:
        """Replicas' worth of work per option; infinite where it cannot serve what it is sent."""
        loads = dict.fromkeys(self.options, 0.0)
        for (cell_name, option_name), share in self.plan.shares.items():
            cell = self.cells[cell_name]
            capacity = self.capacity(cell, self.options[option_name])
            rate = cell.rate_per_s * share
            loads[option_name] += rate / capacity if capacity > 0 else (math.inf if rate > 0 else 0.0)
        return loads

    def shares(self) -> Iterator[Violation]:
        """Traffic is sent only where it can be served."""
        for (cell_name, option_name), share in self.plan.shares.items():
            if share == 0:
                continue
            cell, option = self.cells[cell_name], self.options[option_name]
            sent = f"route cell {cell.name} sends a share of {share:.6g} to Deployment {option.name}"
            pair = f"{cell.name} -> {option.name}"
            if cell.group != option.group:
                message = (
                    f"{sent}, of sharing group {option.group}: one of its own group {cell.group} is needed"
                )
                yield Violation(ViolationCode.SHARE_OUTSIDE_GROUP, pair, message)
            elif self.capacity(cell, option) <= 0:
                message = f"{sent}, which cannot serve it within its SLO: a share of 0 is needed"
                yield Violation(ViolationCode.SHARE_WITHOUT_CAPACITY, pair, message)
            elif self.count(option) == 0:
                message = f"{sent}, which has 0 replicas: at least 1 is needed"
                yield Violation(ViolationCode.SHARE_WITHOUT_REPLICA, pair, message)

    def service(self) -> Iterator[Violation]:
        """Each cell is served whole, or its shortfall is the exact rest."""
        for cell in self.cells.values():
            total = math.fsum(s for (c, _), s in self.plan.shares.items() if c == cell.name)
            missing = self.missing_per_s.get(cell.name, 0.0)
            unserved = missing / cell.rate_per_s if cell.rate_per_s > 0 else 0.0
            if cell.rate_per_s == 0 and not self._has_server(cell):
                unserved = 1.0  # no demand and no replica: no shares are needed
            if not abs(total + unserved - 1) <= RELATIVE_TOLERANCE:
                message = (
                    f"the shares of route cell {cell.name} sum to {total:.6f}: {1 - unserved:.6f} is needed, "
                    f"1 less its unserved share"
                )
                yield Violation(ViolationCode.NOT_SERVED, cell.name, message)

    def _has_server(self, cell: Cell) -> bool:
        return any(self.count(o) and self.capacity(cell, o) > 0 for o in self.options.values())

    def shortfalls(self) -> Iterator[Violation]:
        """Shortfalls are positive, listed once, of the right cause, and needed."""
        listed = Counter(s.cell for s in self.plan.shortfalls)
        for shortfall in self.plan.shortfalls:
            cell = self.cells[shortfall.cell]
            wrong = self._wrong(shortfall, cell)
            if listed[cell.name] > 1:
                wrong = f"is listed {listed[cell.name]} times: once is needed"
            if wrong:
                yield wrong_shortfall(cell.name, wrong)
            elif remedy := self._idle_remedy(cell):
                message = (
                    f"route cell {cell.name} lacks {shortfall.missing_per_s:.4g} req/s although {remedy}: "
                    f"at most {NEEDLESS_SHARE * cell.rate_per_s:.4g} req/s may be missing then"
                )
                yield Violation(ViolationCode.SHORTFALL_NEEDLESS, cell.name, message)

    def _wrong(self, shortfall: Shortfall, cell: Cell) -> str:
        missing, cause = shortfall.missing_per_s, shortfall.cause
        able = [o for o in self.options.values() if self.capacity(cell, o) > 0]
        hosted = [o for o in able if o.gpus <= max(self._nodes(o.pool), default=0) or _anchored(o)]
        if not 0 < missing <= cell.rate_per_s * (1 + RELATIVE_TOLERANCE):
            return f"is {missing} req/s: more than 0 and at most its rate of {cell.rate_per_s} is needed"
        if not isinstance(shortfall.message, str) or not shortfall.message.strip():
            return "has no sentence: one that names the remedy is needed"
        if cause not in tuple(ShortfallCause):
            return f"has the cause {shown(cause)}: one of {', '.join(ShortfallCause)} is needed"
        if (cause is ShortfallCause.NO_VARIANT) != (not able):
            return (
                f"has the cause {cause}, and the number of Deployments that can serve it is {len(able)}: "
                f"{ShortfallCause.NO_VARIANT} is needed exactly where none can"
            )
        if able and (cause is ShortfallCause.NO_NODES) != (not hosted):
            return (
                f"has the cause {cause}, and the number of its Deployments that fit on a node is "
                f"{len(hosted)}: {ShortfallCause.NO_NODES} is needed exactly where none does"
            )
        return ""

    def _idle_remedy(self, cell: Cell) -> str:
        """A capacity that could serve more of the cell and is not used; empty where there is none."""
        worth_having = NEEDLESS_SHARE * cell.rate_per_s
        if self.missing_per_s[cell.name] <= worth_having:
            return ""
        for option in self.options.values():
            capacity = self.capacity(cell, option)
            idle = self.problem.headroom * self.count(option) - self.loads[option.name]
            if capacity * idle > worth_having:
                return f"Deployment {option.name} has {capacity * idle:.4g} req/s to spare"
            if capacity * self.problem.headroom > worth_having and self._has_room_for_one_more(option):
                return f"one more replica of Deployment {option.name} is allowed and fits"
        return ""

    def load(self) -> Iterator[Violation]:
        """The load planned for an option is at most headroom x its replicas."""
        for option in self.options.values():
            limit = self.problem.headroom * self.count(option)
            work = self.loads[option.name]
            if not work <= limit * (1 + RELATIVE_TOLERANCE) + RELATIVE_TOLERANCE**2:
                message = (
                    f"{self._with_replicas(option)} and is sent the work of {work:.4f}: "
                    f"at most {limit:.4f} is allowed"
                )
                yield Violation(ViolationCode.OVERLOAD, option.name, message)

    def limits(self) -> Iterator[Violation]:
        """Ceilings, quotas, the budget, and the stated cost."""
        for model, ceiling in self.problem.max_replicas.items():
            if (count := self._model_count(model)) > ceiling:
                message = f"model {model} has {counted(count, 'replica')}: at most {ceiling} is allowed"
                yield Violation(ViolationCode.ABOVE_CEILING, model, message)
        for quota in self.problem.quotas:
            if (taken := quota.taken(self.plan.replicas)) > quota.units:
                message = f"{quota.title}: at most {quota.units} can be taken, and the replicas take {taken}"
                yield Violation(ViolationCode.ABOVE_QUOTA, quota.name, message)
        budget = self.problem.budget_usd_per_hour
        if budget is not None and not _at_most(self.cost_usd_per_hour, budget):
            cost = f"${self.cost_usd_per_hour:.4f}/h"
            message = f"the fleet costs {cost}: at most its budget of ${budget:.4f}/h is allowed"
            yield Violation(ViolationCode.OVER_BUDGET, "budget", message)
        stated = self.plan.cost_usd_per_hour
        if not math.isclose(stated, self.cost_usd_per_hour, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-9):
            price = f"${self.cost_usd_per_hour:.4f}/h"
            message = f"the stated cost is ${stated:.4f}/h: {price} is needed, the replicas' price"
            yield Violation(ViolationCode.COST_WRONG, "cost", message)

    def usefulness(self) -> Iterator[Violation]:
        """No option has a replica that can serve no cell, but for those that stay."""
        for option in self.options.values():
            if self.count(option) > option.least_replicas and not self._is_useful(option):
                message = (
                    f"{self._with_replicas(option)} and can serve no route cell of sharing group "
                    f"{option.group}: {_needed(option.least_replicas)}"
                )
                yield Violation(ViolationCode.USELESS_REPLICA, option.name, message)

    def staying(self) -> Iterator[Violation]:
        """Every option has the replicas that stay, and none beyond those that there can be."""
        for option in self.options.values():
            if self.count(option) < option.least_replicas:
                message = f"{self._with_replicas(option)}: at least {option.least_replicas} must stay"
                yield Violation(ViolationCode.BELOW_LEAST, option.name, message)
            if option.most_replicas is not None and self.count(option) > option.most_replicas:
                why = f", as many as {option.fixed_by} sets" if option.fixed_by else ""
                message = f"{self._with_replicas(option)}: at most {option.most_replicas} can be there{why}"
                yield Violation(ViolationCode.ABOVE_MOST, option.name, message)

    def _is_useful(self, option: Option) -> bool:
        return any(self.capacity(cell, option) > 0 for cell in self.cells.values())

    def _model_count(self, model: ModelKey) -> int:
        return sum(self.count(o) for o in self.options.values() if o.model == model)

    def floors(self) -> Iterator[Violation]:
        """Each group has its floor; what is missing to it is stated exactly, and no more fits."""
        for group, floor in self.problem.min_replicas.items():
            members = [o for o in self.options.values() if o.group == group]
            count = sum(self.count(o) for o in members)
            unmet = max(0, floor - count)
            stated = self.plan.unmet_floors.get(group, 0)
            has = f"sharing group {group} has {counted(count, 'replica')}, its floor is {floor}"
            if stated != unmet:
                message = (
                    f"{has}, and its number of missing replicas is stated as {stated}: {unmet} is needed"
                )
                yield Violation(ViolationCode.BELOW_FLOOR, group, message)
            if unmet:
                yield from self._needlessly_unmet(group, members, has)

    def _needlessly_unmet(self, group: GroupName, members: list[Option], has: str) -> Iterator[Violation]:
        for option in members:
            if self._is_useful(option) and self._has_room_for_one_more(option):
                message = f"{has}, and one more replica of Deployment {option.name} fits: it is needed"
                yield Violation(ViolationCode.FLOOR_NEEDLESSLY_UNMET, group, message)

    def packing(self) -> Iterator[Violation]:
        """Whole parallel groups fit on the nodes of their pool, anchored ones apart."""
        for pool in sorted({o.pool for o in self.options.values()}):
            groups, nodes_there = self._groups(pool), self._nodes_there(pool)
            if not fits(nodes_there, groups):
                planned = " and ".join(
                    f"{counted(n, 'replica')} of {counted(g, 'GPU')}" for g, n in sorted(groups.items()) if n
                )
                nodes = ", ".join(str(gpus) for gpus in sorted(nodes_there))
                message = f"GPUPool {pool} should hold {planned}: nodes with room for all are needed, " + (
                    f"it has nodes of {nodes} GPUs" if nodes else "it has no node"
                )
                yield Violation(ViolationCode.DOES_NOT_FIT, pool, message)

    def _nodes(self, pool: str) -> tuple[int, ...]:
        """GPUs of each node, with those that may come."""
        return next((p.most_nodes for p in self.problem.pools if p.name == pool), ())

    def _nodes_there(self, pool: str) -> tuple[int, ...]:
        """GPUs of each node once the nodes are there that the plan asks for."""
        number = self.plan.to_come.get(pool, 0)
        return next((p.nodes_with(number) for p in self.problem.pools if p.name == pool), ())

    def to_come(self) -> Iterator[Violation]:
        """No more nodes are asked for than may come, and none in vain."""
        for pool, number in self.plan.to_come.items():
            limit = next(p for p in self.problem.pools if p.name == pool)
            most = limit.to_come.most if limit.to_come is not None else 0
            if number > most:
                message = f"GPUPool {pool} should get {counted(number, 'node')}: at most {most} may come"
                yield Violation(ViolationCode.TOO_MANY_NODES, pool, message)
            elif number and fits(limit.nodes_with(number - 1), self._groups(pool, are_moved=True)):
                message = f"GPUPool {pool} should get {counted(number, 'node')}: fewer hold what is planned"
                yield Violation(ViolationCode.TOO_MANY_NODES, pool, message)

    def _groups(
        self, pool: str, one_more: DeploymentKey | None = None, *, are_moved: bool = False
    ) -> Counter[int]:
        """Groups that need a node that takes new ones; with one more replica of an option, or with the
        successors of those on leaving nodes."""
        groups: Counter[int] = Counter()
        for option in self.options.values():
            if option.pool == pool:
                count = self.count(option) + (option.name == one_more)
                elsewhere = option.closed_replicas if are_moved else _anchored(option)
                groups[option.gpus] += max(0, count - elsewhere)
        return groups

    def _has_room_for_one_more(self, option: Option) -> bool:
        budget = self.problem.budget_usd_per_hour
        ceiling = self.problem.max_replicas.get(option.model)
        return (
            (option.most_replicas is None or self.count(option) < option.most_replicas)
            and (ceiling is None or self._model_count(option.model) < ceiling)
            and (budget is None or self.cost_usd_per_hour + option.price_usd_per_hour <= budget)
            and all(
                quota.taken(self.plan.replicas) + quota.per_replica.get(option.name, 0) <= quota.units
                for quota in self.problem.quotas
                if option.name in quota.per_replica
            )
            and fits(self._nodes(option.pool), self._groups(option.pool, one_more=option.name))
        )


def _needed(replicas: int) -> str:
    return f"{counted(replicas, 'replica')} {'is' if replicas == 1 else 'are'} needed"


def _anchored(option: Option) -> int:
    """Replicas that run where no new ones may start: they need no other node."""
    return option.closed_replicas + option.leaving_replicas


def _at_most(value: float, limit: float) -> bool:
    return value <= limit * (1 + RELATIVE_TOLERANCE) + 1e-9
