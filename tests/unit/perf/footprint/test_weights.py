"""Weights on one tensor-parallel rank: an even share, and the K and V weights that ranks repeat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from argosy.perf.footprint.weights import Ranks, rank_weight_bytes
from argosy.snapshot.architecture import Architecture, Dtype, WeightLayout

# 2 bytes each: 400,000 bytes in all.
ONE_KV_HEAD = Architecture(
    layers=4,
    hidden_size=64,
    intermediate_size=128,
    attention_heads=4,
    kv_heads=1,
    head_dim=16,
    vocabulary=100,
    parameters=200_000,
    active_parameters=200_000,
    max_context=4096,
)
# One linear layer, three with a window, one with full attention and heads of its own.
WINDOWED = replace(
    ONE_KV_HEAD,
    layers=5,
    linear_layers=1,
    sliding_layers=3,
    sliding_window=32,
    full_kv_heads=2,
    full_head_dim=32,
)


@pytest.mark.parametrize(
    ("architecture", "ranks", "repeated_parameters"),
    [
        # A head on one rank is the even share: nothing is repeated.
        pytest.param(ONE_KV_HEAD, 1, 0, id="one rank"),
        # Each of 2 ranks holds the whole head, half a head is its even share:
        # K and V (2) x 64 inputs x 0.5 heads x 16 outputs x 4 layers.
        pytest.param(ONE_KV_HEAD, 2, 2 * 64 * 8 * 4, id="one KV head on two ranks"),
        # 2 x 64 x 0.75 heads x 16 x 4 layers.
        pytest.param(ONE_KV_HEAD, 4, 2 * 64 * 12 * 4, id="one KV head on four ranks"),
        pytest.param(replace(ONE_KV_HEAD, kv_heads=2), 2, 0, id="a KV head for each rank"),
        # Windowed layers: 3 x (1 - 1/4 heads) x 16 = 36; the full one: 1 x (1 - 2/4 heads) x 32 = 16.
        pytest.param(WINDOWED, 4, 2 * 64 * (36 + 16), id="windowed and full layers"),
        # Windowed layers: 3 x (1 - 1/2 heads) x 16 = 24; the full one has a head for each rank.
        pytest.param(WINDOWED, 2, 2 * 64 * 24, id="full layers with a head for each rank"),
        # Full layers with the heads of the others: (3 + 1) x (1 - 1/2 heads) x 16 = 32.
        pytest.param(
            replace(WINDOWED, full_kv_heads=0, full_head_dim=0), 2, 2 * 64 * 32, id="heads of one kind"
        ),
        # Latent attention has no K and V projection per head.
        pytest.param(replace(ONE_KV_HEAD, mla_kv_dim=32), 2, 0, id="latent attention"),
    ],
)
def test_a_rank_holds_whole_kv_heads(
    architecture: Architecture, ranks: int, repeated_parameters: int
) -> None:
    expected = 400_000 / ranks + 2 * repeated_parameters
    assert rank_weight_bytes(architecture, None, Ranks(ranks)) == pytest.approx(expected, rel=1e-12)


def test_repeated_weights_are_quantised_as_the_others_are() -> None:
    """Tables of 2 x 100 x 64 parameters stay at 2 bytes; the rest and 4096 repeated ones take 1 byte."""
    expected = 12_800 / 2 * 2 + (200_000 - 12_800) / 2 + 4096
    assert rank_weight_bytes(ONE_KV_HEAD, Dtype.FP8, Ranks(2)) == pytest.approx(expected, rel=1e-12)


def test_a_checkpoint_of_mixed_types_repeats_at_two_bytes() -> None:
    """Stored bytes say nothing of each matrix: K and V count as the wide ones that they mostly are."""
    layout = WeightLayout(12_800, 0, 187_200, 0, stored_split_bytes=200_000, stored_whole_bytes=1_000)
    expected = 12_800 / 2 * 2 + 200_000 / 2 + 1_000 + 2 * 4096
    found = rank_weight_bytes(replace(ONE_KV_HEAD, layout=layout), None, Ranks(2))
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_stage_repeats_the_weights_of_its_own_layers() -> None:
    """Half of the layers and one of both tables: half of everything."""
    whole = rank_weight_bytes(ONE_KV_HEAD, None, Ranks(2))
    assert rank_weight_bytes(ONE_KV_HEAD, None, Ranks(2, 2, 0)) == pytest.approx(whole / 2, rel=1e-12)
