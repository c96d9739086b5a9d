"""The operator learns from running engines how long their steps take, and says so."""

from __future__ import annotations

from operator_stage import Operator, OperatorStage, Say, until

PATIENCE_S = 150.0


def factors(operator: Operator) -> dict[str, float]:
    """What is shown, by variant."""
    rows = [line.removeprefix("argosy_calibration_factor{") for line in operator.metrics()]
    found = [row.rpartition(" ") for row in rows if row.startswith("variant=")]
    return {labels.split('"')[1]: float(value) for labels, _, value in found}


def test_engines_as_fast_as_their_profile_are_found_to_be_so(stage: OperatorStage, say: Say) -> None:
    operator = stage.leader
    with stage.load(rate_per_s=16.0):
        chat = until(
            lambda: [value for name, value in factors(operator).items() if "l40s" in name],
            "a calibration in the metrics",
            PATIENCE_S,
        )
    say(f"step time over the profile's, of live simulated engines: {chat[0]:.3f}")
    assert 0.85 < chat[0] < 1.15
    assert "recalibration failed" not in stage.log(operator.name)
