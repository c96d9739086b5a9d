"""`argosy perf show MODEL`: what one replica does at one load, with units, origin and error.

Input: the options as written. Output: a `ReplicaAnswer` of `perf.answers` as text or JSON, or its refusal.
"""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from argosy.cli.options import ShowOptions
from argosy.cli.output import Output, digits
from argosy.cli.screens.replica import finite, load, read_profile, speculation, variant
from argosy.perf import LibraryPerfModel, shipped_library
from argosy.perf.answers.replica import TTFT_OF_CLIENTS, ReplicaAnswer, ReplicaQuestion, answer
from argosy.perf.answers.unanswered import Unanswered
from argosy.perf.measurements import far_off
from argosy.perf.profile import Origin, Profile
from argosy.perf.tokens.speculative import Speculation
from argosy.snapshot import Variant


def show(asked: ShowOptions, output: Output) -> None:
    """Print the answer, or refuse with its reason. Raises SpecError for an option that cannot be used."""
    library = shipped_library().with_users(map(read_profile, asked.profiles))
    question = ReplicaQuestion(
        load(asked.load), speculation(asked.speculation), finite(asked.price, "--price")
    )
    replica = variant(asked.replica, question.load)
    found = answer(replica, question, LibraryPerfModel(library, {}))
    if isinstance(found, Unanswered):
        output.refused(found)
    if asked.profiles and (remark := _remark(found, replica)):
        output.remark(f"--profile: {remark}")
    if output.as_json:
        output.document(document(found))
    else:
        _print(found, question, output.console)


def _remark(found: ReplicaAnswer, asked: Variant) -> str:
    """A remark on the given profiles: none is used, or the used one differs too much from Argosy's own."""
    key = found.profile.key
    if found.profile.origin is not Origin.USER:
        return f"none of the given profiles is of {key}, so Argosy's own is used ({found.profile.origin})"
    known = LibraryPerfModel(shipped_library(), {}).profile(asked)
    far = far_off(found.profile, known) if isinstance(known, Profile) else None
    return f"by this profile of {key}, {far}" if far else ""


def document(found: ReplicaAnswer) -> dict[str, Any]:
    """What --json prints. Unknown is null; every other field has its unit in its name."""
    key = found.profile.key
    return {
        "model": found.model,
        "gpu": found.gpu,
        "tp": key.shape.tensor_parallel,
        "pp": key.shape.pipeline_parallel,
        "dtype": str(key.dtype),
        "profile": {
            "origin": str(found.profile.origin),
            "error": digits(found.profile.uncertainty),
            "source": found.profile.source,
        },
        "step_ms": digits(found.step_ms),
        "itl_ms": digits(found.itl_ms),
        "ttft_ms": digits(found.ttft_ms),
        "throughput_tokens_per_s": digits(found.throughput_tokens_per_s),
        "requests_per_s": digits(found.requests_per_s),
        "kv_capacity_tokens": found.kv_capacity_tokens,
        "slots": found.slots,
        "power_w": None if found.power is None else digits(found.power.watts),
        "joule_per_token": digits(found.joule_per_token),
        "usd_per_million_tokens": digits(found.usd_per_million_tokens),
        "uncertainty": digits(found.profile.uncertainty),
    }


def _print(found: ReplicaAnswer, question: ReplicaQuestion, console: Console) -> None:
    for line in _heading(found, question):
        console.print(line)
    table = Table(show_header=False, box=None, pad_edge=False)
    for row in _rows(found, question.speculation):
        table.add_row(*row)
    console.print(table)


def _heading(found: ReplicaAnswer, question: ReplicaQuestion) -> tuple[str, ...]:
    """The question, and the origin of the figures."""
    profile, load = found.profile, question.load
    asked = f"{load.batch} in flight" if load.batch is not None else f"{load.requests_per_s:g} requests/s"
    cached = f" ({found.cached_tokens} cached)" if load.cached_share > 0 else ""
    lengths = f"{load.prompt_tokens} prompt{cached} and {load.output_tokens} output tokens"
    return (
        f"{profile.key}, {lengths}, {asked}",
        f"{profile.origin}: {profile.source}",
        f"expect step times within {profile.uncertainty:.0%} (one standard error)\n",
    )


def _rows(found: ReplicaAnswer, proposing: Speculation | None) -> list[tuple[str, str, str]]:
    """Name, figure with its unit, remark."""
    itl = found.itl_ms
    return [
        *_steps(found, proposing),
        ("ITL", f"{itl:.2f} ms" if math.isfinite(itl) else "none", "mean gap between tokens"),
        ("TTFT", f"{found.ttft_ms:.1f} ms", _ttft_note(found)),
        ("throughput", f"{found.throughput_tokens_per_s:,.0f} tokens/s", "generated"),
        ("", f"{found.requests_per_s:.2f} requests/s", ""),
        ("KV capacity", f"{found.kv_capacity_tokens:,} tokens", ""),
        ("slots", f"{found.slots}", "requests of these lengths at the same time"),
        *_power(found, proposing),
        _cost(found),
    ]


def _power(found: ReplicaAnswer, proposing: Speculation | None) -> list[tuple[str, str, str]]:
    power, joule = found.power, found.joule_per_token
    if power is None or joule is None:
        return []
    verified = "" if proposing is None else ", at the tokens that a step verifies"
    return [
        ("power", f"{power.watts:,.0f} W", f"{power.source}, within {power.uncertainty:.0%}{verified}"),
        ("energy", f"{joule:.3f} J/token", _energy(proposing)),
    ]


def _steps(found: ReplicaAnswer, proposing: Speculation | None) -> list[tuple[str, str, str]]:
    alone = round(found.mean_batch) <= 1
    batch = "1 sequence" if alone else f"{found.mean_batch:.0f} sequences"
    if proposing is None:
        return [("step time", f"{found.step_ms:.2f} ms", f"decoding {batch}")]
    count, each = proposing.draft_tokens, "" if alone else "each of "
    costs = f"drafting a token takes {proposing.draft_cost:g} of a decode step (--draft-cost)"
    return [
        ("step time", f"{found.step_ms:.2f} ms", f"verifying {count + 1} tokens of {each}{batch}"),
        ("", "", costs),
        (
            "tokens per step",
            f"{found.tokens_per_step:.2f}",
            f"mean; a drafted token is accepted with probability {proposing.acceptance:g}",
        ),
    ]


def _energy(proposing: Speculation | None) -> str:
    each = "batch" if proposing is None else "(batch x tokens per step)"
    return f"power x step time / {each}"


def _ttft_note(found: ReplicaAnswer) -> str:
    """For a profile that no measured run has corrected: how much longer clients of measured runs waited."""
    if found.profile.origin is Origin.USER:
        return "mean"
    low, high = TTFT_OF_CLIENTS
    front_ms = found.profile.front_end_ms
    waited = f"clients of measured runs waited {low:g}-{high:g} times as long"
    return f"mean, {front_ms:.3g} ms of it the front end; {waited}"


def _cost(found: ReplicaAnswer) -> tuple[str, str, str]:
    price, usd = found.price_usd_per_gpu_hour, found.usd_per_million_tokens
    if price is None or usd is None:
        return ("cost", "unknown", f"no list price of {found.gpu} is known: give --price")
    return ("cost", f"${usd:.3f} per million tokens", f"at ${price:.2f} per GPU-hour (--price)")
