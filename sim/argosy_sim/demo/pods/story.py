"""The story as a small cluster's pods can tell it.

Owns its rates, its prices, and which acts a cluster has the nodes for. Input: the GPUs of its nodes. Output:
a `Story`, and a sentence for what of the embedded demo's story is not told or not judged. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from argosy.errors import SpecError
from argosy_sim.demo.story import Act, Shock, Story, default_story

ACT_S = 90.0
"""A real pod's start comes on top of an engine's loading, and with it longer recovery windows."""
BURSTY, EXPENSIVE = "NVIDIA-L40S", "NVIDIA-H100-80GB-HBM3"
LEAST_GPUS = 4
"""Three replicas for the burst of chat, one for batch."""
NO_SILENCE = (
    "a node that falls silent: only the end of a machine does that. Its node is cordoned and its engines are"
    " deleted with one second of grace, which the operator learns from the API server at once"
)
NO_MEMORY = "memory of operator and Envoys: they are the cluster's pods"


def pods_story(gpus_by_product: Mapping[str, Sequence[int]], rate_factor: float) -> tuple[Story, list[str]]:
    """The story, and what is not told or not judged of it; `gpus_by_product`: free GPUs of each node.

    Raises SpecError where the GPUs are too few for its first acts.
    """
    cheap = [num for num in gpus_by_product.get(BURSTY, ()) if num]
    if sum(cheap) < LEAST_GPUS:
        raise SpecError(
            f"the Ready nodes with nvidia.com/gpu.product={BURSTY} have {sum(cheap)} free GPUs, {LEAST_GPUS}"
            " are needed; `make kind` gives a cluster that has them",
            "--kubeconfig",
        )
    told, left_out = [("steady", 4.0, Shock.NONE), ("burst", 10.0, Shock.BURST)], []
    if len(cheap) > 1 and sum(cheap) - max(cheap) >= LEAST_GPUS - 1:
        told.append(("node is taken away", 4.0, Shock.NODE_REMOVAL))
        left_out.append(NO_SILENCE)
    else:
        left_out.append(f"the loss of a node: the others with {BURSTY} have too few GPUs for what runs on it")
    if any(gpus_by_product.get(EXPENSIVE, ())):
        told.append(("price change", 4.0, Shock.PRICE_CHANGE))
    else:
        left_out.append(f"the change of a price: no Ready node with {EXPENSIVE} has a free GPU")
    acts = tuple(
        Act(
            name,
            start_s=number * ACT_S,
            end_s=(number + 1) * ACT_S,
            rate_per_s={"chat": chat * rate_factor, "batch": 0.15 * rate_factor},
            shock=shock,
        )
        for number, (name, chat, shock) in enumerate(told)
    )
    return replace(default_story(), acts=acts, price_change=("h100", 1.0)), [*left_out, NO_MEMORY]
