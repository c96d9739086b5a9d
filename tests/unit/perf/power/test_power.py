"""Watts by level and batch, and what tokens cost: joules, grams, dollars, and the 1/W law."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_cases import architecture, gpu_of
from perf_engines import H100_8B, H100_70B_TP4

from argosy.engine.step_times import step_ms
from argosy.errors import SpecError
from argosy.keys import ModelKey
from argosy.perf.catalogue import Gpu, gpus
from argosy.perf.footprint.memory import fits
from argosy.perf.footprint.work import StepWork, decode_work
from argosy.perf.power.energy import (
    REFERENCE_ENERGY,
    EnergyFigure,
    energy_comparison,
    joule_per_token,
    usd_per_million_tokens,
)
from argosy.perf.power.power import (
    FITTED_CURVES,
    SCALED_UNCERTAINTY,
    UTILISATION_FORMS,
    PowerOrigin,
    Utilisation,
    idle_power,
    utilisation,
    working_power,
)
from argosy.perf.profile import ProfileKey, Shape
from argosy.perf.protocol import Fits
from argosy.snapshot import EngineSettings, Variant
from argosy.snapshot.architecture import Dtype

BUSY = Utilisation(0.6, 0.1)


def key(gpu_name: str, model: str, ranks: int = 1, dtype: Dtype = Dtype.BF16) -> ProfileKey:
    return ProfileKey(gpu_name, model, dtype, Shape(ranks))


# --- watts ------------------------------------------------------------------------------------


# The reference's curves, per GPU, worked out by hand from its parameters.
@pytest.mark.parametrize(
    ("name", "model", "ranks", "batch", "watts_per_gpu"),
    [
        pytest.param("H100", "llama-3.1-8b", 1, 1, 475.5, id="H100 8B, a lone request"),
        pytest.param("H100", "llama-3.1-8b", 1, 45, 587.0, id="H100 8B, halfway at 2^5.49"),
        pytest.param("H100", "llama-3.1-8b", 1, 256, 685.7, id="H100 8B, a large batch"),
        pytest.param("H100", "llama-3.1-70b", 4, 8, 440.9, id="H100 70B TP4, a small batch"),
        pytest.param("H100", "llama-3.1-70b", 4, 100, 527.0, id="H100 70B TP4, halfway at 2^6.65"),
        pytest.param("B200", "llama-3.1-70b", 2, 69, 913.4, id="B200 70B TP2, halfway at 2^6.11"),
        pytest.param("B200", "llama-3.1-70b", 2, 512, 969.7, id="B200 70B TP2, a large batch"),
    ],
)
def test_fitted_curves_are_those_of_the_reference(
    name: str, model: str, ranks: int, batch: int, watts_per_gpu: float
) -> None:
    power = working_power(gpu_of(name), key(name, model, ranks), batch, BUSY)
    assert power.watts == pytest.approx(ranks * watts_per_gpu, rel=0.002)
    assert power.origin is PowerOrigin.FITTED


@pytest.mark.parametrize(
    ("name", "busy", "expected"),
    [
        pytest.param("H100", Utilisation(0.5, 0.1), 410 + 23 + 80.4, id="H100"),
        pytest.param("H100", Utilisation(1.0, 1.0), 700, id="H100, never over its TDP"),
        pytest.param("B200", Utilisation(0.5, 0.05), 278 + 483.5 + 114.35, id="B200"),
        pytest.param("B200", Utilisation(0.9, 0.2), 1000, id="B200, never over its TDP"),
    ],
)
def test_without_a_curve_the_utilisation_form_answers(name: str, busy: Utilisation, expected: float) -> None:
    power = working_power(gpu_of(name), key(name, "qwen3-32b", 2), 32, busy)
    assert power.watts == pytest.approx(2 * expected)
    assert power.origin is PowerOrigin.GENERIC


def test_a_curve_holds_for_the_number_type_and_shape_that_it_was_fitted_to() -> None:
    h100 = gpu_of("H100")
    for other in (
        key("H100", "llama-3.1-8b", 2),
        key("H100", "llama-3.1-8b", dtype=Dtype.FP8),
        ProfileKey("H100", "llama-3.1-8b", Dtype.BF16, Shape(1, 2)),
    ):
        assert working_power(h100, other, 32, BUSY).origin is PowerOrigin.GENERIC


@pytest.mark.parametrize(
    ("name", "nearest"), [("L40S", "H100"), ("A100", "H100"), ("GB200", "B200"), ("MI300X", "H100")]
)
def test_other_gpus_draw_the_nearest_ones_share_of_their_tdp(name: str, nearest: str) -> None:
    power = working_power(gpu_of(name), key(name, "llama-3.1-8b"), 32, BUSY)
    known = UTILISATION_FORMS[nearest]
    assert power.watts == pytest.approx(known.watts(BUSY) / known.tdp_w * gpu_of(name).tdp_w)
    assert power.origin is PowerOrigin.SCALED
    assert nearest in power.source


def test_scaling_is_as_uncertain_as_the_two_measured_forms_differ() -> None:
    shares = {
        name: [
            UTILISATION_FORMS[name].watts(Utilisation(memory, compute)) / UTILISATION_FORMS[name].tdp_w
            for memory in np.linspace(0.2, 0.8, 33)
            for compute in np.linspace(0.0, 0.25, 33)
        ]
        for name in ("H100", "B200")
    }
    differences = np.array(shares["B200"]) / np.array(shares["H100"]) - 1.0
    root_mean_square = float(np.sqrt(np.mean(differences**2)))
    assert root_mean_square == pytest.approx(SCALED_UNCERTAINTY, abs=0.01)
    assert max(form.uncertainty for form in UTILISATION_FORMS.values()) < SCALED_UNCERTAINTY


# arXiv 2605.23918: a context adds 26 to 66 W to a GPU without one.
@pytest.mark.parametrize(
    ("name", "bare_w"), [("H100", 70), ("H200", 0.13 * 700), ("B200", 141), ("A100", 59), ("L40S", 35)]
)
def test_a_context_adds_what_was_measured(name: str, bare_w: float) -> None:
    assert 26 <= idle_power(gpu_of(name), 1).watts - bare_w <= 66


# P0 with 4-5 % utilisation, as listings show them: 27-30 W and 25 W.
@pytest.mark.parametrize(("name", "listed_w"), [("L4", 28.5), ("T4", 25.0)])
def test_a_small_board_idles_as_listings_show_it(name: str, listed_w: float) -> None:
    power = idle_power(gpu_of(name), 1)
    assert power.watts == pytest.approx(listed_w, rel=power.uncertainty)


@pytest.mark.parametrize("one", gpus(), ids=lambda one: one.name)
def test_levels_rise_from_idle_to_working_on_every_gpu(one: Gpu) -> None:
    working = working_power(one, key(one.name, "qwen3-32b"), 8, Utilisation(0.1, 0.0))
    idle = idle_power(one, 1)
    assert 0 < idle.watts < working.watts < one.tdp_w
    assert min(idle.uncertainty, working.uncertainty) > 0


def test_a_gpu_with_a_lowered_limit_stays_under_it() -> None:
    limited = replace(gpu_of("H100"), tdp_w=400)
    assert working_power(limited, key("H100", "llama-3.1-8b"), 256, BUSY).watts == 400


def test_no_gpu_works_on_less_than_it_idles_on() -> None:
    # Of 100 W the Blackwell form's static part is 28 W; bare GPU and context are 32 W.
    small = replace(gpu_of("RTX-PRO-6000"), tdp_w=100)
    working = working_power(small, key("RTX-PRO-6000", "qwen3-32b"), 1, Utilisation(0.0, 0.0))
    assert working.watts == idle_power(small, 1).watts


@given(
    one=st.sampled_from(gpus()),
    ranks=st.sampled_from([1, 2, 4, 8]),
    model=st.sampled_from(["llama-3.1-8b", "llama-3.1-70b", "gpt-oss-120b"]),
    batch=st.integers(1, 1024),
    memory=st.floats(0, 1),
    compute=st.floats(0, 1),
)
def test_power_lies_between_idle_and_the_tdp(
    one: Gpu, ranks: int, model: str, batch: int, memory: float, compute: float
) -> None:
    power = working_power(one, key(one.name, model, ranks), batch, Utilisation(memory, compute))
    assert idle_power(one, ranks).watts <= power.watts + 1e-9
    assert power.watts <= ranks * one.tdp_w + 1e-9


@given(batch=st.integers(1, 1023), curve=st.sampled_from(sorted(FITTED_CURVES)))
def test_a_fitted_curve_rises_with_the_batch(batch: int, curve: tuple[str, str, int]) -> None:
    name, model, ranks = curve
    small, large = (working_power(gpu_of(name), key(name, model, ranks), b, BUSY) for b in (batch, batch + 1))
    assert small.watts <= large.watts


@given(
    one=st.sampled_from(gpus()),
    lower=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    more=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
)
def test_the_busier_gpu_draws_more(one: Gpu, lower: tuple[float, float], more: tuple[float, float]) -> None:
    busier = Utilisation(lower[0] + more[0], lower[1] + more[1])
    calm = working_power(one, key(one.name, "qwen3-32b"), 8, Utilisation(*lower))
    assert calm.watts <= working_power(one, key(one.name, "qwen3-32b"), 8, busier).watts


# Measured with the closed form of the tables and the host's overhead: -7.5 % at batch 1 to -23 % at 256,
# and with their step times of 70B within 3 % (root mean square); the two forms have different sources.
def test_form_and_curve_of_an_8b_model_agree_within_a_quarter() -> None:
    h100, model = gpu_of("H100"), architecture("llama-3.1-8b")
    fitted, other = key("H100", "llama-3.1-8b"), key("H100", "llama-3.1-8b", dtype=Dtype.FP8)
    for batch in (1, 8, 64, 256):
        work = decode_work(model, fitted, batch, 1024)
        busy = utilisation(work, float(step_ms(H100_8B, batch, batch * 1024)), h100, Dtype.BF16)
        curve, form = (working_power(h100, which, batch, busy).watts for which in (fitted, other))
        assert form == pytest.approx(curve, rel=0.25)


def test_a_smooth_profile_draws_more_in_a_larger_batch() -> None:
    h100, model, other = gpu_of("H100"), architecture("llama-3.1-8b"), key("H100", "qwen3-8b")
    batches = np.arange(1, 257)
    times = step_ms(H100_8B, batches, batches * 1024)
    watts = [
        working_power(
            h100, other, b, utilisation(decode_work(model, other, b, 1024), float(t), h100, Dtype.BF16)
        ).watts
        for b, t in zip(batches.tolist(), times, strict=True)
    ]
    assert np.all(np.diff(watts) > 0)


# --- work -------------------------------------------------------------------------------------


def test_a_step_reads_the_weights_once_and_the_kv_of_every_sequence() -> None:
    model = architecture("llama-3.1-8b")
    work = decode_work(model, key("H100", "llama-3.1-8b"), 64, 1024)
    # All matrices but the input table, and 131,072 bytes of KV per token.
    weights = 2 * (8_030_261_248 - 128_256 * 4096)
    assert work.memory_bytes == pytest.approx(weights + 64 * 1024 * 131_072, rel=1e-3)
    attention = 4 * 32 * 128 * 32 * 1024
    assert work.flops == pytest.approx(64 * (weights + attention), rel=1e-3)


def test_ranks_and_stages_divide_the_work() -> None:
    model, whole = architecture("llama-3.1-70b"), key("H100", "llama-3.1-70b")
    alone = decode_work(model, whole, 32, 2048)
    for shape in (Shape(4), Shape(1, 4), Shape(2, 2)):
        share = decode_work(model, replace(whole, shape=shape), 32, 2048)
        assert (share.memory_bytes, share.flops) == pytest.approx((alone.memory_bytes / 4, alone.flops / 4))


def test_a_mixture_reads_more_experts_in_a_larger_batch_up_to_all() -> None:
    model, one = architecture("qwen3-235b-a22b"), key("H200", "qwen3-235b-a22b")
    lone, crowd = decode_work(model, one, 1, 0), decode_work(model, one, 4096, 0)
    assert lone.memory_bytes == pytest.approx(2 * model.active_parameters)
    everything = 2 * (model.parameters - model.vocabulary * model.hidden_size)
    assert crowd.memory_bytes == pytest.approx(everything, rel=0.01)


def test_a_windowed_layer_looks_at_no_more_than_its_window() -> None:
    model, one = architecture("gpt-oss-120b"), key("H100", "gpt-oss-120b")
    short, long = decode_work(model, one, 1, 4096), decode_work(model, one, 1, 8192)
    full_layers = model.layers - model.sliding_layers
    kv_numbers = 4096 * full_layers * 2 * model.kv_heads * model.head_dim
    assert long.memory_bytes - short.memory_bytes == pytest.approx(2 * kv_numbers)
    products = 4096 * full_layers * 4 * model.attention_heads * model.head_dim
    assert long.flops - short.flops == pytest.approx(products)


def test_utilisation_is_work_over_time_at_the_peaks() -> None:
    h100 = gpu_of("H100")
    busy = utilisation(StepWork(33.5e9, 98.9e12), 20.0, h100, Dtype.BF16)
    assert (busy.memory, busy.compute) == pytest.approx((0.5, 1.0), abs=1e-6)
    assert utilisation(StepWork(33.5e9, 9.89e12), 20.0, h100, Dtype.FP8).compute == pytest.approx(0.25)
    # The A100 multiplies FP8 weights in bf16.
    assert utilisation(StepWork(0, 3.12e12), 20.0, gpu_of("A100"), Dtype.FP8).compute == pytest.approx(0.5)


# --- energy, money ----------------------------------------------------------------------------


def test_a_token_takes_its_share_of_a_steps_joules() -> None:
    assert joule_per_token(700.0, 20.0, 64) == pytest.approx(700 * 0.02 / 64)


def test_a_million_tokens_cost_their_gpu_seconds() -> None:
    # Four GPUs at 3.60 USD an hour are 0.4 cents a second.
    assert usd_per_million_tokens(3.6, 4, 2000.0) == pytest.approx(2.0)
    assert usd_per_million_tokens(0.0, 4, 2000.0) == 0.0


def silicon_ms(figure: EnergyFigure) -> float:
    source = H100_8B if figure.tensor_parallel == 1 else H100_70B_TP4
    return float(step_ms(source, figure.batch, figure.batch * 1024))


# Measured, difference from the published figure: 8B +13 %, +14 %, +15 %; 70B +0 %, -11 %, -17 %.
# The issue sets no bound (the figures imply other step times); twice what was seen guards the units.
def test_published_energies_are_printed_with_their_difference() -> None:
    rows = energy_comparison(silicon_ms)
    assert [row.figure for row in rows] == list(REFERENCE_ENERGY)
    for row in rows:
        assert row.joule_per_token == pytest.approx(row.power_w * row.step_ms / 1e3 / row.figure.batch)
        assert row.difference == pytest.approx(row.joule_per_token / row.figure.joule_per_token - 1)
        assert abs(row.difference) < 0.35
        # With the step time that the figure implies there is no difference left.
        implied = joule_per_token(row.power_w, row.implied_step_ms, row.figure.batch)
        assert implied == pytest.approx(row.figure.joule_per_token)


def windows(model_id: str, ranks: int) -> list[float]:
    """Tokens per watt at contexts of 4K, 8K, ... 64K, memory full."""
    engine = EngineSettings(max_num_seqs=256, max_model_len=65_536)
    room = fits(Variant(ModelKey("ns/x"), f"meta-llama/{model_id}", ("x",), "p", "H100", ranks, engine))
    assert isinstance(room, Fits)
    one = key("H100", model_id.lower().removesuffix("-instruct"), ranks)
    source = H100_8B if ranks == 1 else H100_70B_TP4
    efficiency = []
    for window in (4096 << i for i in range(5)):
        batch = min(engine.max_num_seqs, room.kv_capacity_tokens // window)
        watts = working_power(gpu_of("H100"), one, batch, BUSY).watts
        efficiency.append(1 / joule_per_token(watts, float(step_ms(source, batch, batch * window)), batch))
    return efficiency


# The published law: 17.6 tokens/W at 4K against 1.5 at 64K, a factor of 11.7 over four doublings, 1.85
# each. It would be exactly 2 if neither watts nor step time fell with the batch; both do, and how much
# depends on the model: ours (measured: 11.7 for 70B TP4, 10.0 for 8B) may keep their factor within 20 %,
# and a doubling may give or take what rounding to whole sequences does at small batches (13 against 27).
@pytest.mark.parametrize(("model_id", "ranks"), [("Llama-3.1-70B-Instruct", 4), ("Llama-3.1-8B-Instruct", 1)])
def test_doubling_the_context_window_halves_tokens_per_watt(model_id: str, ranks: int) -> None:
    efficiency = windows(model_id, ranks)
    factors = [wide / long for wide, long in itertools.pairwise(efficiency)]
    assert all(1.6 < factor < 2.1 for factor in factors)
    assert efficiency[0] / efficiency[-1] == pytest.approx(17.6 / 1.5, rel=0.2)


@given(watts=st.floats(1, 1e5), ms=st.floats(0.1, 1e4), batch=st.integers(1, 4096))
def test_energy_is_positive_and_falls_with_the_batch(watts: float, ms: float, batch: int) -> None:
    assert 0 < joule_per_token(watts, ms, batch + 1) < joule_per_token(watts, ms, batch)


# --- bad input --------------------------------------------------------------------------------

NONSENSE = (math.nan, math.inf, -1.0, 0.0)


@pytest.mark.parametrize(
    ("ask", "field", "nonsense"),
    [
        pytest.param(lambda x: joule_per_token(x, 10, 8), "power_w", NONSENSE, id="watts"),
        pytest.param(lambda x: joule_per_token(500, x, 8), "step_ms", NONSENSE, id="step time"),
        pytest.param(lambda x: joule_per_token(500, 10, x), "tokens_per_step", NONSENSE, id="tokens"),
        pytest.param(
            lambda x: usd_per_million_tokens(x, 1, 1.0), "price_usd_per_gpu_hour", NONSENSE[:3], id="price"
        ),
        pytest.param(lambda x: usd_per_million_tokens(1, 1, x), "tokens_per_s", NONSENSE, id="no tokens"),
        pytest.param(
            lambda x: working_power(gpu_of("H100"), key("H100", "x"), x, BUSY), "batch", NONSENSE, id="batch"
        ),
        pytest.param(lambda x: Utilisation(x, 0.5), "utilisation.memory", NONSENSE[:3], id="memory"),
        pytest.param(lambda x: Utilisation(0.5, x), "utilisation.compute", NONSENSE[:3], id="compute"),
        pytest.param(lambda x: StepWork(x, 1.0), "work.memory_bytes", NONSENSE[:3], id="bytes"),
        pytest.param(lambda x: StepWork(1.0, x), "work.flops", NONSENSE[:3], id="operations"),
        pytest.param(lambda x: idle_power(gpu_of("H100"), x), "num_gpus", (0, -1), id="GPUs"),
        pytest.param(
            lambda x: decode_work(architecture("llama-3.1-8b"), key("H100", "x"), x, 1), "batch", NONSENSE,
            id="work of no batch",
        ),
    ],
)  # fmt: skip
def test_quantities_that_mean_nothing_are_refused_with_their_field(
    ask: Callable[[float], object], field: str, nonsense: tuple[float, ...]
) -> None:
    for value in nonsense:
        with pytest.raises(SpecError) as refusal:
            ask(value)
        assert refusal.value.field == field
