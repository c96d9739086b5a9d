"""Parts of a card: MIG slices, and shares of a card that several containers use at once.

Owns how a part's figures follow from its card's, and how a part's name is read (`H100-MIG-3g.40gb`,
`L4-SHARED-4`, and node labels such as `NVIDIA-L4-SHARED`). Input: a `Gpu` and a profile or a number.
Output: another `Gpu`, which is never faster nor larger than its card.

A profile `Ng.Mgb` has N compute slices and M GB. Its memory, and with it the bandwidth, comes in eighths
of the card (quarters where the card has four slices), of which the driver keeps some: nvidia-smi shows
4,864 of 5,120 MiB for an A100's 1g.5gb, 20,096 of 20,480 for its 3g.20gb. Compute is counted in SMs, of which
slices do not use all: 14 of an A100's 108 are one slice, 16 of an H100's 132. Source: NVIDIA's MIG User
Guide, "Supported MIG Profiles", and `nvidia-smi mig -lgip`.

A share of a card is an equal part of its bandwidth and peaks. Its memory is not divided by anything but
the engine's own --gpu-memory-utilization, a share of the whole card that the engine sees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from argosy.snapshot.variant import Gpu

SLICE_KEPT, SMALLEST_SLICE_KEPT = 0.97, 0.95
"""What the driver leaves of a slice's memory: at worst of those that were seen, an A100's and an A30's."""
_SM_SHARE_AMPERE, _SM_SHARE_LATER = 14 / 108, 16 / 132
_WHOLE_AMPERE = 98 / 108

_PROFILE = re.compile(r"(?P<compute>\d+)g\.(?P<memory>\d+)gb")
_NAME = re.compile(
    r"(?P<card>.+?)(?:-mig-(?P<profile>[0-9cg.]+gb)(?:[.+-](?:me|gfx|all|no))*)?(?:-shared(?:-(?P<sharers>\d+))?)?"
)


@dataclass(frozen=True, slots=True)
class PartName:
    """A name taken apart: card, MIG profile (empty: the whole card), and how many share it (0: not said)."""

    card: str
    profile: str
    sharers: int


def part_name(name: str) -> PartName:
    """The parts of a name in small letters and dashes. A name of no part is all card."""
    found = _NAME.fullmatch(name)
    if found is None:
        return PartName(name, "", 1)
    is_shared = name.endswith("-shared") or found["sharers"] is not None
    return PartName(found["card"], found["profile"] or "", int(found["sharers"] or 0) if is_shared else 1)


def mig_slice(card: Gpu, profile: str) -> Gpu | None:
    """The slice of a card; None where MIG does not divide it so."""
    if profile not in card.mig:
        return None
    memory, compute = _shares(card, profile)
    kept = SMALLEST_SLICE_KEPT if memory <= 1 / 8 else SLICE_KEPT
    return replace(
        card,
        name=f"{card.name}-MIG-{profile}",
        products=tuple(f"{product}-MIG-{profile}" for product in card.products),
        aliases=(),
        memory_bytes=int(kept * memory * card.memory_bytes),
        memory_bytes_per_s=memory * card.memory_bytes_per_s,
        flops={dtype: compute * peak for dtype, peak in card.flops.items()},
        nvlink_bytes_per_s=None,
        tdp_w=max(memory, compute) * card.tdp_w,
        source=f"{card.source}; MIG {profile}: {memory:g} of the memory, {compute:.3g} of the SMs",
        mig=(),
        part_of=card.name,
    )


def shared(gpu: Gpu, sharers: int) -> Gpu:
    """One of `sharers` equal shares of a card or a slice that its containers take turns on."""
    return replace(
        gpu,
        name=f"{gpu.name}-SHARED-{sharers}",
        products=tuple(f"{product}-SHARED" for product in gpu.products),
        aliases=(),
        memory_bytes_per_s=gpu.memory_bytes_per_s / sharers,
        flops={dtype: peak / sharers for dtype, peak in gpu.flops.items()},
        nvlink_bytes_per_s=None,
        pcie_bytes_per_s=gpu.pcie_bytes_per_s / sharers,
        network_bytes_per_s=gpu.network_bytes_per_s / sharers,
        tdp_w=gpu.tdp_w / sharers,
        source=f"{gpu.source}; one of {sharers} equal shares",
        mig=(),
        part_of=gpu.part_of or gpu.name,
        sharers=sharers,
    )


def _shares(card: Gpu, profile: str) -> tuple[float, float]:
    """Of the card's memory and bandwidth, and of its SMs."""
    compute, memory_gb = _numbers(profile)
    slices, whole_gb = _numbers(card.mig[-1])
    parts = 4 if slices == 4 else 8
    memory = round(parts * memory_gb / whole_gb) / parts
    if slices == 4:
        return memory, compute / 4
    is_ampere = (card.compute_capability or 0) < 9
    if compute == slices:
        return memory, _WHOLE_AMPERE if is_ampere else 1.0
    return memory, compute * (_SM_SHARE_AMPERE if is_ampere else _SM_SHARE_LATER)


def _numbers(profile: str) -> tuple[int, int]:
    found = _PROFILE.fullmatch(profile)
    assert found is not None, profile
    return int(found["compute"]), int(found["memory"])
