"""`argosy perf roles MODEL`: whether prefill and decode on separate replicas pay.

Input: the options as written. Output: a `RolesAnswer` of `perf.answers.roles` as text or JSON, or its
refusal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from argosy.checks import not_negative
from argosy.cli.options import RoleOptions, RolesOptions
from argosy.cli.output import Output, digits
from argosy.cli.screens.replica import at_least_one, load, variant, whole
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.answers.replica import ReplicaLoad
from argosy.perf.answers.roles.answer import (
    NOTICEABLE,
    Carried,
    Replica,
    RolesAnswer,
    answer_roles,
    milliseconds,
)
from argosy.perf.answers.roles.question import LatencyPromise, LinkName, RoleAsked, RolesQuestion
from argosy.perf.answers.unanswered import Unanswered
from argosy.perf.protocol import CapacityLimit, term_name
from argosy.snapshot import SloTerm, Variant

_IDLE = 0.1


def show(asked: RolesOptions, output: Output) -> None:
    """Print the answer, or refuse with its reason. Raises SpecError for an option that cannot be used."""
    question = _question(asked)
    found = answer_roles(question, LibraryPerfModel(shipped_library(), {}))
    if isinstance(found, Unanswered):
        output.refused(found)
    if output.as_json:
        output.document(_document(found, question))
    else:
        _print(found, question, output.console)


# --- from options to the question -------------------------------------------------------------


def _question(asked: RolesOptions) -> RolesQuestion:
    """Raises SpecError."""
    lengths = load(asked.load)
    base = _base(asked, lengths)
    return RolesQuestion(
        prefill=_role(base, asked.prefill, asked.price),
        decode=_role(base, asked.decode, asked.price),
        prompt_tokens=lengths.prompt_tokens,
        output_tokens=lengths.output_tokens,
        promise=LatencyPromise(asked.ttft_p95, asked.itl_p95),
        link=LinkName(asked.link),
    )


def _base(asked: RolesOptions, lengths: ReplicaLoad) -> Variant:
    """The model as both roles serve it, on the GPUs of both. Raises SpecError."""
    found, max_num_seqs = variant(asked.replica, lengths), whole(asked.max_num_seqs, "--max-num-seqs")
    budget = max(found.engine.max_num_batched_tokens, max_num_seqs)
    engine = replace(found.engine, max_num_seqs=max_num_seqs, max_num_batched_tokens=budget)
    return replace(found, engine=engine)


def _role(base: Variant, own: RoleOptions, price_of_both: float | None) -> RoleAsked:
    """The base with the role's own GPUs and price, where it has its own. Raises SpecError."""
    tp = base.tensor_parallel if own.tp is None else at_least_one(own.tp, f"{own.prefix}tp")
    option, price = ("--price", price_of_both) if own.price is None else (f"{own.prefix}price", own.price)
    if price is not None:
        not_negative(price, option)
    return RoleAsked(replace(base, gpu=own.gpu or base.gpu, tensor_parallel=tp), price)


# --- from the answer to what is printed -------------------------------------------------------


def _document(found: RolesAnswer, question: RolesQuestion) -> dict[str, Any]:
    """What --json prints. Unknown is null; every other field has its unit in its name."""
    transfer, together = found.transfer, found.balance
    return {
        "model": question.prefill.variant.model_id,
        "dtype": str(found.prefill.profile.key.dtype),
        "prompt_tokens": question.prompt_tokens,
        "output_tokens": question.output_tokens,
        "max_num_seqs": question.decode.variant.engine.max_num_seqs,
        "ttft_p95_ms": question.promise.ttft_p95_ms,
        "itl_p95_ms": question.promise.itl_p95_ms,
        "prefill": _replica_document(found.prefill),
        "decode": _replica_document(found.decode),
        "kv_transfer": {
            "link": str(question.link),
            "link_bytes_per_s": digits(transfer.link.bytes_per_s),
            "prompt_bytes_per_gpu": digits(found.transfer_bytes),
            "prompt_ms": digits(found.transfer_ms),
        },
        "set": {
            "num_prefill": together.num_prefill,
            "num_decode": together.num_decode,
            "num_gpus": found.num_gpus,
            "prefill_busy": digits(found.prefill_busy),
            "decode_busy": digits(found.decode_busy),
        },
        "disaggregated": _carried_document(found.disaggregated),
        "aggregated": _carried_document(found.aggregated)
        | {"replicas": [_replica_document(replica) for replica in found.aggregated_replicas]},
        "gain": digits(found.gain),
    }


def _replica_document(replica: Replica) -> dict[str, Any]:
    key, profile = replica.profile.key, replica.profile
    return {
        "gpu": key.gpu,
        "tp": key.shape.tensor_parallel,
        "requests_per_s": digits(replica.capacity.requests_per_s),
        "binding": replica.capacity.binding_name,
        "slo": [
            {"term": str(term.term), "percentile": digits(term.percentile), "bound_ms": digits(term.bound_ms)}
            for term in replica.slo.terms
        ],
        "usd_per_gpu_hour": digits(replica.price_usd_per_gpu_hour),
        "profile": {"origin": str(profile.origin), "error": digits(profile.uncertainty)},
    }


def _carried_document(carried: Carried) -> dict[str, Any]:
    return {
        "requests_per_s": digits(carried.requests_per_s),
        "requests_per_s_per_gpu": digits(carried.requests_per_s_per_gpu),
        "usd_per_million_tokens": digits(carried.usd_per_million_tokens),
    }


def _print(found: RolesAnswer, question: RolesQuestion, console: Console) -> None:
    key, promise, transfer = found.prefill.profile.key, question.promise, found.transfer
    console.print(
        f"{key.model} {key.dtype}, {question.prompt_tokens} prompt and {question.output_tokens} output"
        f" tokens, --max-num-seqs {question.decode.variant.engine.max_num_seqs}"
    )
    console.print(
        f"SLO: TTFT p95 {promise.ttft_p95_ms:g} ms (--ttft-p95),"
        f" ITL p95 {promise.itl_p95_ms:g} ms (--itl-p95)\n"
    )
    console.print(_replicas(found))
    console.print(
        f"\nKV of a prompt: {found.transfer_bytes / 1e6:,.0f} MB from each GPU, {found.transfer_ms:.1f} ms"
        f" over --link {question.link} ({transfer.link.bytes_per_s / 1e9:g} GB/s)"
    )
    console.print(f"{_together(found, question.link)}\n")
    console.print(_arrangements(found))
    console.print(f"\n{_verdict(found)}")
    console.print(_notes(found))


def _together(found: RolesAnswer, link: LinkName) -> str:
    """Replicas of each role, and their utilisation."""
    busy = f"{found.prefill_busy:.0%} and {found.decode_busy:.0%} used"
    node = "" if link is LinkName.NETWORK else " of one node"
    if node and min(found.prefill_busy, found.decode_busy) < 1.0 - _IDLE:
        busy += f"\n(the KV cache stays in the node; --link {LinkName.NETWORK} allows other numbers)"
    return (
        f"together: {found.balance.num_prefill} prefill + {found.balance.num_decode} decode replicas"
        f" ({found.num_gpus} GPUs{node}), {busy}"
    )


def _replicas(found: RolesAnswer) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("one replica")
    table.add_column("on")
    table.add_column("requests/s", justify="right")
    table.add_column("per GPU", justify="right")
    table.add_column("limited by")
    rows = [("prefill only", found.prefill), ("decode only", found.decode)]
    for name, replica in rows + [("aggregated", replica) for replica in found.aggregated_replicas]:
        key = replica.profile.key
        rates = (f"{replica.capacity.requests_per_s:.2f}", f"{replica.requests_per_s_per_gpu:.2f}")
        table.add_row(name, f"{key.gpu} {key.shape}", *rates, _binding(replica))
    return table


def _binding(replica: Replica) -> str:
    binding = replica.capacity.binding
    if isinstance(binding, SloTerm):
        return f"{term_name(binding)} of {milliseconds(binding.bound_ms)}"
    return "throughput" if binding is CapacityLimit.STABILITY else str(binding)


def _arrangements(found: RolesAnswer) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(f"these {found.num_gpus} GPUs")
    for column in ("requests/s", "per GPU", "$ per million generated tokens"):
        table.add_column(column, justify="right")
    for name, carried in (
        ("prefill + decode", found.disaggregated),
        ("aggregated replicas", found.aggregated),
    ):
        usd = carried.usd_per_million_tokens
        table.add_row(
            name,
            f"{carried.requests_per_s:.1f}",
            f"{carried.requests_per_s_per_gpu:.2f}",
            "unknown" if usd is None else f"{usd:.3f}",
        )
    return table


def _verdict(found: RolesAnswer) -> str:
    gain = found.gain
    if gain is None:
        return "Only disaggregation keeps this SLO on these GPUs."
    if abs(gain - 1.0) < NOTICEABLE:
        return f"No noticeable difference: {gain:.2f} times the requests/s of aggregated replicas."
    if gain > 1.0:
        return f"Disaggregation pays: {gain:.2f} times the requests/s of aggregated replicas."
    return f"Disaggregation does not pay: {gain:.2f} times the requests/s of aggregated replicas."


def _notes(found: RolesAnswer) -> str:
    """Where the figures come from."""
    roles = {replica.profile.key: replica for replica in (found.prefill, found.decode)}
    origins = {
        f"{each.profile.origin} on {each.profile.key.gpu} {each.profile.key.shape}, "
        f"within {each.profile.uncertainty:.0%}"
        for each in roles.values()
    }
    prices = {
        f"${each.price_usd_per_gpu_hour:.2f} per {each.profile.key.gpu}-hour"
        if each.price_usd_per_gpu_hour is not None
        else f"no list price of {each.profile.key.gpu} is known"
        for each in roles.values()
    }
    return (
        "p97.5: where each role keeps its part of TTFT that often, both together keep TTFT p95\n"
        f"step times: {'; '.join(sorted(origins))} (one standard error)\n"
        f"cost: {', '.join(sorted(prices))} (--price)"
    )
