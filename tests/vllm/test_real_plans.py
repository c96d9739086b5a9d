"""Plans for real engines, from a profile measured on one: what it predicts, and that load is followed."""

from __future__ import annotations

import time

import pytest
from operator_stage import OURS, OperatorStage, Say, condition, until
from vllm_measuring import CARD, LIMITS, MEMORY_GIB, OUTPUT_TOKENS, PROMPT_TOKENS, Measured

from argosy.keys import ModelKey
from argosy.perf import LibraryPerfModel, architecture_from_config, shipped_library
from argosy.perf.answers.replica import ReplicaAnswer, ReplicaLoad, ReplicaQuestion, answer
from argosy.perf.catalogue.gpu import only_memory
from argosy.perf.measurements import FittedProfile, profile_from_bytes
from argosy.perf.protocol import Capacity
from argosy.snapshot import Architecture, EngineSettings, Mix, Slice, Slo, SloTerm, Term, Variant
from argosy_sim.livefleet.runtime.installation import MODEL, MODEL_CONFIG

LOADED_S = 300.0
MODEL_PATH = f"{OURS}/namespaces/default/servedmodels/tiny"
pytestmark = pytest.mark.timeout(1500)


def model_and_variant(measured: Measured) -> tuple[LibraryPerfModel, Variant]:
    """The performance model with the measured profile, and the replica that it is of."""
    architecture = architecture_from_config(MODEL_CONFIG)
    assert isinstance(architecture, Architecture)
    engine = EngineSettings(**{flag.strip("-").replace("-", "_"): n for flag, n in LIMITS.items()})
    card = only_memory(CARD, MEMORY_GIB)
    variant = Variant(
        ModelKey(""), MODEL, (), "", CARD, 1, engine, architecture=architecture, declared_gpu=card
    )
    profile = profile_from_bytes(measured.profile, "profile.json")
    assert isinstance(profile, FittedProfile)
    return LibraryPerfModel(shipped_library(), {}).with_profiles([profile.profile]), variant


def predicted(measured: Measured, requests_per_s: float) -> ReplicaAnswer:
    """What the profile says of a replica at an open-loop load."""
    model, variant = model_and_variant(measured)
    load = ReplicaLoad(PROMPT_TOKENS, OUTPUT_TOKENS, None, requests_per_s)
    found = answer(variant, ReplicaQuestion(load), model)
    assert isinstance(found, ReplicaAnswer), found
    return found


def capacity(measured: Measured) -> float:
    """Requests/s that a replica carries within the SLO of the world's class."""
    model, variant = model_and_variant(measured)
    slo = Slo((SloTerm(Term.TTFT, 0.95, 5000.0), SloTerm(Term.ITL, 0.95, 60.0)))
    found = model.capacity(variant, Mix((Slice(PROMPT_TOKENS, OUTPUT_TOKENS, 1.0),)), slo)
    assert isinstance(found, Capacity), found
    return found.requests_per_s


def test_predicted_against_measured_at_two_loads(measured: Measured, say: Say) -> None:
    say(f"{measured.said}")
    say("load      TTFT ms: predicted, measured   ITL ms            E2E ms")
    for rate, seen in measured.seen.items():
        found = predicted(measured, rate)
        e2e_ms = found.ttft_ms + (OUTPUT_TOKENS - 1) * found.itl_ms
        say(
            f"{rate:4.1f}/s  {found.ttft_ms:16.0f} {seen['mean_ttft_ms']:9.0f}"
            f"  {found.itl_ms:12.1f} {seen['mean_tpot_ms']:6.1f}  {e2e_ms:8.0f} {seen['mean_e2el_ms']:6.0f}"
        )
        # Two cores that others use, too: of the right order, no more.
        assert 0.4 < found.itl_ms / seen["mean_tpot_ms"] < 2.5
        assert 0.4 < e2e_ms / seen["mean_e2el_ms"] < 2.5


def planned(stage: OperatorStage) -> list[tuple[str, int]]:
    """Pool and replicas of each Deployment of the applied plan."""
    return [(row["pool"], row["replicas"]) for row in stage.applied()["spec"]["deployments"]]


def test_the_measured_profile_plans_the_engine(real_stage: OperatorStage) -> None:
    found = condition(real_stage.read(MODEL_PATH), "ResolvedRefs")
    assert found["status"] == "True", found
    real_stage.patch("wclass", "chat", minReplicas=1)  # the tests before this one leave two
    one = [("cores", 1)]
    until(lambda: planned(real_stage) == one, "a plan of one engine", LOADED_S)


def test_a_doubled_load_scales_out_and_back_and_loses_nothing(
    real_stage: OperatorStage, measured: Measured, say: Say
) -> None:
    def num_serving() -> int:
        pods = real_stage.pods("chat")
        return len(pods) if len(pods) == len(real_stage.ready_pods("chat")) else -1

    asked = {"model": "tiny", "headers": {}, "output_tokens": OUTPUT_TOKENS}
    traffic = {"source": "Observed"}
    real_stage.patch("wclass", "chat", minReplicas=1, traffic=traffic)
    until(lambda: num_serving() == 1, "one engine to be left", LOADED_S)
    lost = []
    carried = capacity(measured)
    say(f"one engine carries {carried:.2f}/s within the SLO")
    for rate_per_s, num_engines in ((0.6 * carried, 1), (1.2 * carried, 2), (0.4 * carried, 1)):
        with real_stage.load(rate_per_s=rate_per_s, **asked) as load:
            time.sleep(30.0)  # the class's band, and the rates' own window
            until(lambda n=num_engines: num_serving() == n, f"{num_engines} at {rate_per_s:.2f}/s", LOADED_S)
        lost += load.lost
        say(f"{rate_per_s:.2f}/s: {num_engines} engines, {len(load.answers)} requests, {len(load.lost)} lost")
    assert lost == []


def test_recalibration_converges_on_a_real_engine(real_stage: OperatorStage, say: Say) -> None:
    def factors() -> list[float]:
        rows = (line.rpartition(" ") for line in real_stage.leader.metrics())
        return [float(v) for name, _, v in rows if name.startswith("argosy_calibration_factor{variant=")]

    with real_stage.load(rate_per_s=1.0, model="tiny", headers={}, output_tokens=OUTPUT_TOKENS):
        (found,) = until(factors, "a calibration in the metrics", LOADED_S)
    say(f"step time over the measured profile's: {found:.2f}")
    assert 0.4 < found < 2.5
