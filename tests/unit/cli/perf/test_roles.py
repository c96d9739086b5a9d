"""`argosy perf roles` as a user types it: figures with units, a verdict, refusals with a reason."""

from __future__ import annotations

import pytest
from perf_command import asked, refused, run

from argosy.perf.front_end import front_end_of

EIGHT = "meta-llama/Llama-3.1-8B-Instruct"
SEVENTY = "meta-llama/Llama-3.1-70B-Instruct"
FIELDS = [
    "model", "dtype", "prompt_tokens", "output_tokens", "max_num_seqs", "ttft_p95_ms", "itl_p95_ms",
    "prefill", "decode", "kv_transfer", "set", "disaggregated", "aggregated", "gain",
]  # fmt: skip


def test_the_object_has_every_field_and_they_agree_with_each_other() -> None:
    found = asked("roles", SEVENTY, "--gpu", "H100", "--tp", "4")
    assert list(found) == FIELDS
    prefill, decode, together = found["prefill"], found["decode"], found["set"]
    assert (found["ttft_p95_ms"], found["itl_p95_ms"]) == (2000, 50)
    assert (prefill["gpu"], prefill["tp"], decode["gpu"], decode["tp"]) == ("H100", 4, "H100", 4)
    assert min(each["requests_per_s"] for each in (prefill, decode, *found["aggregated"]["replicas"])) > 0
    carried = min(
        together["num_prefill"] * prefill["requests_per_s"],
        together["num_decode"] * decode["requests_per_s"],
    )
    disaggregated, aggregated = found["disaggregated"], found["aggregated"]
    assert disaggregated["requests_per_s"] == pytest.approx(carried, rel=1e-3)
    assert disaggregated["requests_per_s_per_gpu"] == pytest.approx(carried / together["num_gpus"], rel=1e-3)
    assert found["gain"] == pytest.approx(
        disaggregated["requests_per_s"] / aggregated["requests_per_s"], rel=1e-3
    )
    dearer = aggregated["usd_per_million_tokens"] / disaggregated["usd_per_million_tokens"]
    assert found["gain"] == pytest.approx(dearer, rel=1e-3)
    # Balanced within rounding: neither role has a quarter of its replicas to spare.
    assert 0.75 < min(together["prefill_busy"], together["decode_busy"]) <= 1
    # The parts of TTFT and the transfer add up to the promise.
    parts = [term["bound_ms"] for each in (prefill, decode) for term in each["slo"] if term["term"] == "TTFT"]
    behind_front_end = 2000 - front_end_of("H100").milliseconds
    assert sum(parts) + found["kv_transfer"]["prompt_ms"] == pytest.approx(behind_front_end, rel=1e-3)


def test_each_role_has_gpus_shape_and_price_of_its_own() -> None:
    found = asked(
        "roles",
        EIGHT, "--gpu", "L40S", "--prefill-gpu", "H100", "--decode-tp", "2", "--price", "1",
        "--prefill-price", "3",
    )  # fmt: skip
    roles = [(found[role]["gpu"], found[role]["tp"]) for role in ("prefill", "decode")]
    assert roles == [("H100", 1), ("L40S", 2)]
    assert [found[role]["usd_per_gpu_hour"] for role in ("prefill", "decode")] == [3, 1]


def test_a_smaller_number_type_sends_less() -> None:
    full, half = (asked("roles", EIGHT, "--kv-dtype", dtype)["kv_transfer"] for dtype in ("bf16", "fp8"))
    assert half["prompt_bytes_per_gpu"] == pytest.approx(full["prompt_bytes_per_gpu"] / 2, rel=1e-3)


def test_a_person_reads_the_promise_the_set_both_arrangements_and_a_verdict() -> None:
    code, output = run("roles", SEVENTY, "--tp", "4")
    assert code == 0
    words = " ".join(output.split())
    for said in (
        "TTFT p95 2000 ms (--ttft-p95), ITL p95 50 ms (--itl-p95)",
        "prefill only H100 TP4",
        "decode only H100 TP4",
        "84 MB from each GPU, 2.1 ms over --link network (40 GB/s)",
        "prefill + decode",
        "aggregated replicas",
        "$ per million generated tokens",
        "Disaggregation pays: 1.",
        "MeasuredTable on H100 TP4, within 6%",
        "$4.45 per H100-hour",
    ):
        assert said in words, said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        pytest.param(("--itl-p95", "15"), "Disaggregation pays", id="tight gaps"),
        pytest.param(("--prompt", "64", "--max-num-seqs", "16"), "does not pay", id="hardly any prefill"),
        pytest.param(("--max-num-seqs", "1024"), "No noticeable difference", id="lax gaps"),
    ],
)
def test_the_verdict_follows_the_figures(args: tuple[str, ...], says: str) -> None:
    code, output = run("roles", EIGHT, *args)
    gain = asked("roles", EIGHT, *args)["gain"]
    assert code == 0
    assert says in output
    assert f"{gain:.2f} times" in output


def test_a_node_that_bounds_the_set_is_named() -> None:
    code, output = run("roles", SEVENTY, "--tp", "4", "--link", "NVLink")
    assert code == 0
    assert "1 prefill + 1 decode replicas (8 GPUs of one node)" in " ".join(output.split())
    assert "--link network allows other numbers" in " ".join(output.split())


def test_no_list_price_is_said_and_null() -> None:
    args = (EIGHT, "--gpu", "MI300X")
    assert asked("roles", *args)["disaggregated"]["usd_per_million_tokens"] is None
    assert "no list price of MI300X is known" in run("roles", *args)[1]


@pytest.mark.parametrize(
    ("args", "reason", "says", "nearest"),
    [
        ((EIGHT, "--gpu", "H1000"), "UnknownGpu", "H1000", "H100"),
        ((EIGHT, "--decode-gpu", "L400"), "UnknownGpu", "decode: ", "L40"),
        (("lama-3.1-8b",), "UnknownModel", "lama-3.1-8b", "llama-3.1-8b"),
        ((EIGHT, "--tp", "3"), "ImpossibleShape", "32 attention heads", "TP 2"),
        ((SEVENTY,), "TooLarge", "TP 2 would fit", "TP 2"),
        ((SEVENTY, "--prefill-tp", "4"), "TooLarge", "decode: ", None),
        ((EIGHT, "--itl-p95", "3"), "SloOutOfReach", "decode: ", None),
        ((EIGHT, "--ttft-p95", "20"), "SloOutOfReach", "prefill: ", None),
        ((EIGHT, "--ttft-p95", "3"), "TransferTooLong", "3.37 ms over network", None),
        ((EIGHT, "--gpu", "L40S", "--link", "nvlink"), "NoSuchLink", "no NVLink", "--link pcie"),
        ((EIGHT, "--prompt", "200000"), "ContextTooLong", "131072", None),
        ((EIGHT, "--prompt", "nan"), "InvalidValue", "--prompt", None),
        ((EIGHT, "--prompt", "0"), "InvalidValue", "--prompt", None),
        ((EIGHT, "--output", "-5"), "InvalidValue", "--output", None),
        ((EIGHT, "--output", "1.5"), "InvalidValue", "--output", None),
        ((EIGHT, "--ttft-p95", "nan"), "InvalidValue", "--ttft-p95", None),
        ((EIGHT, "--ttft-p95", "inf"), "InvalidValue", "--ttft-p95", None),
        ((EIGHT, "--itl-p95", "0"), "InvalidValue", "--itl-p95", None),
        ((EIGHT, "--itl-p95", "-1"), "InvalidValue", "--itl-p95", None),
        ((EIGHT, "--tp", "0"), "InvalidValue", "--tp", None),
        ((EIGHT, "--prefill-tp", "-1"), "InvalidValue", "--prefill-tp", None),
        ((EIGHT, "--decode-tp", "0"), "InvalidValue", "--decode-tp", None),
        ((EIGHT, "--max-num-seqs", "nan"), "InvalidValue", "--max-num-seqs", None),
        ((EIGHT, "--price", "nan"), "InvalidValue", "--price", None),
        ((EIGHT, "--decode-price", "-1"), "InvalidValue", "--decode-price", None),
    ],
)
def test_no_answer_is_a_reason_and_exit_code_2(
    args: tuple[str, ...], reason: str, says: str, nearest: str | None
) -> None:
    error = refused("roles", *args)
    assert error["reason"] == reason
    assert says in error["message"]
    assert nearest is None or nearest in error["nearest"]


def test_a_person_reads_the_refusal_too() -> None:
    code, output = run("roles", EIGHT, "--itl-p95", "3")
    assert code == 2
    assert "argosy perf roles: decode: llama-3.1-8b bf16 on H100 TP1 cannot keep ITL p95 at 3 ms" in output
