"""`argosy perf roles MODEL`: whether prefill and decode on different replicas pay.

Owns options and printing. Never computes (`perf.roles.answer`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from argosy.cli.output import Shown, digits, refuse, whole
from argosy.cli.screens.replica import Asked, variant
from argosy.errors import SpecError
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.answer import Load, Unanswered
from argosy.perf.capacity import STABILITY, term_name
from argosy.perf.quantities import not_negative
from argosy.perf.roles.answer import (
    NOTICEABLE,
    Carried,
    Replica,
    RolesAnswer,
    answer_roles,
    milliseconds,
)
from argosy.perf.roles.question import LinkName, Promise, RoleAsked, RolesQuestion
from argosy.snapshot import EngineSettings, Variant

COMMAND = "argosy perf roles"
_PROMISE = Promise()
_IDLE = 0.1


def show_roles(  # noqa: PLR0913 - one parameter per option
    model: Annotated[
        str, typer.Argument(help="Model id, such as meta-llama/Llama-3.1-8B-Instruct, or a config.json.")
    ] = "",
    gpu: Annotated[str, typer.Option(help="GPU of both roles, by catalogue name or node label.")] = "H100",
    tp: Annotated[int, typer.Option(help="GPUs that share each layer, in both roles.")] = 1,
    prefill_gpu: Annotated[str, typer.Option(help="GPU of the prefill replicas instead.")] = "",
    prefill_tp: Annotated[int | None, typer.Option(help="Their --tp instead.")] = None,
    decode_gpu: Annotated[str, typer.Option(help="GPU of the decode replicas instead.")] = "",
    decode_tp: Annotated[int | None, typer.Option(help="Their --tp instead.")] = None,
    dtype: Annotated[str, typer.Option(help="Number type of the weights; default: the checkpoint's.")] = "",
    kv_dtype: Annotated[str, typer.Option(help="Number type of the KV cache: bf16 or fp8.")] = "",
    prompt: Annotated[float, typer.Option(help="Prompt tokens per request.")] = 1024,
    output: Annotated[float, typer.Option(help="Output tokens per request.")] = 256,
    ttft_p95: Annotated[
        float, typer.Option(help="Milliseconds to the first token that 95 % of the requests keep.")
    ] = _PROMISE.ttft_p95_ms,
    itl_p95: Annotated[
        float, typer.Option(help="Milliseconds of the mean gap between tokens that 95 % of them keep.")
    ] = _PROMISE.itl_p95_ms,
    max_num_seqs: Annotated[
        float, typer.Option(help="Requests that any of the replicas runs at once.")
    ] = EngineSettings().max_num_seqs,
    link: Annotated[
        str,
        typer.Option(help="What carries the KV: network (between nodes), nvlink or pcie (all in one node)."),
    ] = LinkName.NETWORK.value,
    price: Annotated[
        float | None, typer.Option(help="USD per GPU-hour; default: the middle of list prices.")
    ] = None,
    prefill_price: Annotated[float | None, typer.Option(help="Of the prefill GPUs instead.")] = None,
    decode_price: Annotated[float | None, typer.Option(help="Of the decode GPUs instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what prefill-only and decode-only replicas carry, and the same GPUs as aggregated replicas."""
    shown = Shown(as_json, Console(highlight=False))
    both = _Gpus("--", gpu, tp, price)
    try:
        load = Load(whole(prompt, "--prompt"), whole(output, "--output"), batch=1)
        asked = Asked(model, gpu, tp, pp=1, dtype=dtype, kv_dtype=kv_dtype, loras=0)
        base = _base(asked, load, whole(max_num_seqs, "--max-num-seqs"))
        question = RolesQuestion(
            prefill=_role(base, _Gpus("--prefill-", prefill_gpu, prefill_tp, prefill_price), both),
            decode=_role(base, _Gpus("--decode-", decode_gpu, decode_tp, decode_price), both),
            prompt_tokens=load.prompt_tokens,
            output_tokens=load.output_tokens,
            promise=Promise(ttft_p95, itl_p95),
            link=_link(link),
        )
        found = answer_roles(question, LibraryPerfModel(shipped_library(), {}))
    except SpecError as error:
        refuse(Unanswered("InvalidValue", str(error)), shown, COMMAND)
    if isinstance(found, Unanswered):
        refuse(found, shown, COMMAND)
    if as_json:
        typer.echo(json.dumps(roles_document(found, question)))
    else:
        _show(found, question, shown.console)


# --- from options to the question -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Gpus:
    """The options of one role, or of both ("--"); what a role does not say is that of both."""

    prefix: str
    gpu: str
    tp: int | None
    price: float | None


def _base(asked: Asked, load: Load, max_num_seqs: int) -> Variant:
    """The model as both roles serve it; the GPUs are each role's own."""
    if not asked.model:
        raise SpecError("name a model", "MODEL")
    found = variant(asked, load)
    budget = max(found.engine.max_num_batched_tokens, max_num_seqs)
    engine = replace(found.engine, max_num_seqs=max_num_seqs, max_num_batched_tokens=budget)
    return replace(found, engine=engine)


def _role(base: Variant, own: _Gpus, both: _Gpus) -> RoleAsked:
    tp = both if own.tp is None else own
    if tp.tp is None or tp.tp < 1:
        raise SpecError(f"must be at least 1, got {tp.tp}", f"{tp.prefix}tp")
    paid = both if own.price is None else own
    if paid.price is not None:
        not_negative(paid.price, f"{paid.prefix}price")
    return RoleAsked(replace(base, gpu=own.gpu or both.gpu, tensor_parallel=tp.tp), paid.price)


def _link(name: str) -> LinkName:
    if name.lower() not in tuple(LinkName):
        raise SpecError(f"{name!r} is none of {', '.join(LinkName)}", "--link")
    return LinkName(name.lower())


# --- from the answer to what is read ----------------------------------------------------------


def roles_document(found: RolesAnswer, question: RolesQuestion) -> dict[str, Any]:
    """The object that --json prints. Unknown is null; all else has the unit in its name."""
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
        "binding": replica.capacity.binding,
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


def _show(found: RolesAnswer, question: RolesQuestion, console: Console) -> None:
    key, promise, transfer = found.prefill.profile.key, question.promise, found.transfer
    console.print(
        f"{key.model} {key.dtype}, {question.prompt_tokens} prompt and {question.output_tokens} output"
        f" tokens, --max-num-seqs {question.decode.variant.engine.max_num_seqs}"
    )
    console.print(
        f"promise: TTFT p95 {promise.ttft_p95_ms:g} ms (--ttft-p95),"
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
    """How many of each, and how busy."""
    busy = f"{found.prefill_busy:.0%} and {found.decode_busy:.0%} used"
    node = "" if link is LinkName.NETWORK else " of one node"
    if node and min(found.prefill_busy, found.decode_busy) < 1.0 - _IDLE:
        busy += f"\n(KV does not leave the node; --link {LinkName.NETWORK} lets other numbers go together)"
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
    table.add_column("gives way first")
    rows = [("prefill only", found.prefill), ("decode only", found.decode)]
    for name, replica in rows + [("aggregated", replica) for replica in found.aggregated_replicas]:
        key = replica.profile.key
        rates = (f"{replica.capacity.requests_per_s:.2f}", f"{replica.requests_per_s_per_gpu:.2f}")
        table.add_row(name, f"{key.gpu} {key.shape}", *rates, _binding(replica))
    return table


def _binding(replica: Replica) -> str:
    term = replica.binding_term
    if term is not None:
        return f"{term_name(term)} of {milliseconds(term.bound_ms)}"
    return "throughput" if replica.capacity.binding == STABILITY else replica.capacity.binding


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
        return "Only disaggregation keeps this promise on these GPUs."
    if abs(gain - 1.0) < NOTICEABLE:
        return f"No difference worth the trouble: {gain:.2f} times the requests/s of aggregated replicas."
    if gain > 1.0:
        return f"Disaggregation pays: {gain:.2f} times the requests/s of aggregated replicas."
    return f"Disaggregation does not pay: {gain:.2f} times the requests/s of aggregated replicas."


def _notes(found: RolesAnswer) -> str:
    """What the figures stand on."""
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
        "p97.5: where each role keeps its part that often, both together keep TTFT p95\n"
        f"step times: {'; '.join(sorted(origins))} (one standard error)\n"
        f"cost: {', '.join(sorted(prices))} (--price says yours)"
    )
