"""What `argosy perf roles` is asked: a replica of each role, lengths, a promise, and the link.

Owns the question, and which links there are between two replicas.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from argosy.checks import not_negative, positive
from argosy.perf.answers.unanswered import Unanswered, UnansweredReason
from argosy.perf.catalogue.links import Link, gpu_links
from argosy.perf.library import WantedProfile
from argosy.snapshot import Mix, Slice, Slo, SloTerm, Term, Variant

_PERCENTILE = 0.95


class LinkName(StrEnum):
    """What carries KV from one GPU to another (`links`)."""

    NETWORK = "network"
    """To another node."""
    NVLINK = "nvlink"
    """Inside a node; MI300X and its successors have Infinity Fabric instead."""
    PCIE = "pcie"
    """Inside a node, through host memory."""


@dataclass(frozen=True, slots=True)
class RoleAsked:
    """The replica of one role; price in USD per GPU-hour, None: the middle of list prices.

    Raises SpecError for a negative price.
    """

    variant: Variant
    price_usd_per_gpu_hour: float | None = None

    def __post_init__(self) -> None:
        if self.price_usd_per_gpu_hour is not None:
            not_negative(self.price_usd_per_gpu_hour, "price_usd_per_gpu_hour")


@dataclass(frozen=True, slots=True)
class LatencyPromise:
    """What 95 % of the requests get: TTFT and mean gap between tokens, ms. Raises SpecError."""

    ttft_p95_ms: float = 2000.0
    itl_p95_ms: float = 50.0

    def __post_init__(self) -> None:
        positive(self.ttft_p95_ms, "--ttft-p95")
        positive(self.itl_p95_ms, "--itl-p95")

    @property
    def slo(self) -> Slo:
        """As capacities are measured within it."""
        ttft = SloTerm(Term.TTFT, _PERCENTILE, self.ttft_p95_ms)
        return Slo((ttft, SloTerm(Term.ITL, _PERCENTILE, self.itl_p95_ms)))


@dataclass(frozen=True, slots=True)
class RolesQuestion:
    """A replica of each role, the lengths of all requests in tokens, the promise and the link.

    Both roles serve one model in one number type. Raises SpecError for lengths of nothing.
    """

    prefill: RoleAsked
    decode: RoleAsked
    prompt_tokens: int = 1024
    output_tokens: int = 256
    promise: LatencyPromise = LatencyPromise()
    link: LinkName = LinkName.NETWORK

    def __post_init__(self) -> None:
        positive(self.prompt_tokens, "--prompt")
        positive(self.output_tokens, "--output")

    @property
    def mix(self) -> Mix:
        """All requests alike."""
        return Mix((Slice(self.prompt_tokens, self.output_tokens, 1.0),))


def kv_link(name: LinkName, prefill: WantedProfile, decode: WantedProfile) -> Link | Unanswered:
    """The link between a GPU of either role: the slower one's where they differ.

    A link inside a node connects GPUs of one type, and a replica of each role has to share the node.
    """
    if name is LinkName.NETWORK:
        both = (gpu_links(wanted.gpu).network for wanted in (prefill, decode))
        return min(both, key=lambda link: link.bytes_per_s)
    gpu, num_gpus = prefill.gpu, prefill.shape.gpus + decode.shape.gpus
    if gpu.name != decode.gpu.name:
        return _no_link(f"{gpu.name} and {decode.gpu.name} are not in one node")
    if num_gpus > gpu.gpus_per_node:
        return _no_link(f"a replica of each role has {num_gpus} GPUs, a node {gpu.gpus_per_node}")
    if name is LinkName.NVLINK and gpu.nvlink_bytes_per_s is None:
        return _no_link(f"{gpu.name} has no NVLink", LinkName.PCIE)
    return gpu_links(gpu if name is LinkName.NVLINK else replace(gpu, nvlink_bytes_per_s=None)).inside


def _no_link(message: str, *nearest: LinkName) -> Unanswered:
    names = tuple(f"--link {name}" for name in (*nearest, LinkName.NETWORK))
    return Unanswered(UnansweredReason.NO_SUCH_LINK, f"--link: {message}; use {' or '.join(names)}", names)
