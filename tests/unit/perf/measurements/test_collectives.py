"""Tables of nccl-tests: the figures that they give, and the lines that are refused."""

from __future__ import annotations

import pytest
from collective_tables import a_table
from hypothesis import given
from hypothesis import strategies as st

from argosy.perf.measurements.collectives import (
    CollectiveFault,
    CollectiveReason,
    MeasuredReduces,
    TimedMessage,
    fitted_reduce,
    read_all_reduce,
)

SIZES = [2**power for power in range(13, 28, 2)]


def figures(text: str, num_gpus: int | None = None) -> MeasuredReduces:
    found = read_all_reduce(text, num_gpus)
    assert isinstance(found, MeasuredReduces), found
    return found


@pytest.mark.parametrize("gpus", [2, 4, 8])
@pytest.mark.parametrize("columns", [13, 12], ids=["with a root", "as old releases print"])
def test_latency_and_bandwidth_are_found_again(gpus: int, columns: int) -> None:
    found = figures(a_table(gpus, latency_us=13.0, bus_gb_per_s=3.9, columns=columns))
    assert found.reduce.gpus == gpus
    assert found.reduce.latency_ms == pytest.approx(0.013, rel=0.02)
    assert found.reduce.bytes_per_s == pytest.approx(3.9e9, rel=0.01)
    assert found.worst_error < 0.01


@given(latency_us=st.floats(1, 100), bus=st.floats(0.5, 400), gpus=st.integers(2, 16))
def test_any_link_that_is_latency_and_bandwidth_is_fitted_exactly(
    latency_us: float, bus: float, gpus: int
) -> None:
    passes = 2 * (gpus - 1) / gpus
    messages = [TimedMessage(size, latency_us / 1e3 + size * passes / bus / 1e6) for size in SIZES]
    found = fitted_reduce(gpus, messages)
    for each in messages:
        assert found.milliseconds(each.num_bytes) == pytest.approx(each.milliseconds, rel=1e-6)


def test_sizes_that_were_held_out_are_met() -> None:
    """Four L40S through the host (aiconfigurator-core 0.12.0, vLLM 0.22 in a CUDA graph; milliseconds)."""
    measured = {
        2**14: 0.0175117,
        2**16: 0.0369254,
        2**18: 0.1155779,
        2**20: 0.3606000,
        2**22: 1.6486845,
        2**24: 6.6762354,
        2**26: 27.2414819,
    }
    held_out = {2**15: 0.0260240, 2**19: 0.2189763, 2**21: 0.8407574, 2**23: 3.3218390, 2**25: 13.5979761}
    found = fitted_reduce(4, [TimedMessage(*each) for each in measured.items()])
    for size, milliseconds in held_out.items():
        assert found.milliseconds(size) == pytest.approx(milliseconds, rel=0.12)


def test_times_that_fall_with_the_size_still_give_a_bandwidth() -> None:
    found = fitted_reduce(2, [TimedMessage(2**13, 2.0), TimedMessage(2**20, 1.0)])
    assert found.latency_ms == 0.0
    assert found.milliseconds(2**20) == pytest.approx(1.0)


def test_the_number_of_gpus_may_be_given_where_the_text_lists_no_ranks() -> None:
    table = a_table(4, ranks=0)
    assert figures(table, 4).reduce.gpus == 4
    refused = read_all_reduce(table)
    assert isinstance(refused, CollectiveFault)
    assert refused.reason is CollectiveReason.UNKNOWN_GPUS
    assert "set --gpus" in refused.message


def test_messages_of_no_bytes_are_passed_over() -> None:
    empty = "           0             0     float     sum      -1     5.10    0.00    0.00      0"
    row = f"{empty}     5.00    0.00    0.00      0"
    assert len(figures(f"{row}\n{a_table(4)}").messages) == len(figures(a_table(4)).messages)


def test_what_nccl_prints_among_the_rows_is_passed_over() -> None:
    lines = a_table(4).splitlines()
    lines.insert(12, "node-1:100:117 [0] NCCL INFO Channel 00 : 0[0] -> 1[1] via SHM/direct/direct")
    assert figures("\n".join(lines)) == figures(a_table(4))


def changed(line: int, old: str, new: str) -> str:
    lines = a_table(4).splitlines()
    assert old in lines[line - 1], lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        pytest.param("", CollectiveReason.UNKNOWN_GPUS, "lists 0 ranks", id="nothing"),
        pytest.param(
            a_table(4).split("#       size")[0],
            CollectiveReason.TOO_FEW_SIZES,
            "has 0 sizes; needed are 4",
            id="no rows",
        ),
        pytest.param(
            a_table(4, sizes=[2**20, 2**21, 2**22, 2**23]),
            CollectiveReason.TOO_FEW_SIZES,
            "from 1048576 to 8388608 bytes",
            id="sizes close together",
        ),
        pytest.param(
            changed(11, "sum", "max"),
            CollectiveReason.OTHER_OPERATION,
            "line 11: the operation is max",
            id="max",
        ),
        pytest.param(
            changed(11, "      0 ", "      7 "),
            CollectiveReason.WRONG_RESULTS,
            "line 11: 7 wrong results",
            id="wrong results",
        ),
        pytest.param(
            "\n".join([*a_table(4).splitlines(), "1073741824 268435456 float"]),
            CollectiveReason.MALFORMED,
            "3 columns, not 13 or 12",
            id="a row that broke off",
        ),
        pytest.param(
            changed(11, " 8192 ", " 8KiB "),
            CollectiveReason.MALFORMED,
            "line 11: size '8KiB' is not a number of bytes",
            id="a size with a unit",
        ),
        pytest.param(
            a_table(4) + a_table(4).split("(GB/s)\n")[-1],
            CollectiveReason.MALFORMED,
            "sizes must rise",
            id="two runs",
        ),
        pytest.param(
            a_table(4, ranks=8),
            CollectiveReason.OTHER_OPERATION,
            "busbw / algbw is 1.50, and of an all-reduce of 8 GPUs 1.75",
            id="another number of ranks",
        ),
        pytest.param(
            a_table(65), CollectiveReason.UNKNOWN_GPUS, "more than a node may have", id="many nodes"
        ),
        pytest.param(
            a_table(4, latency_us=0.0, times=["nan"] * 10),
            CollectiveReason.MALFORMED,
            "is not above 0",
            id="no time",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_its_line(
    text: str, reason: CollectiveReason, says: str
) -> None:
    found = read_all_reduce(text)
    assert isinstance(found, CollectiveFault)
    assert found.reason is reason
    assert says in found.message


def test_a_number_of_gpus_that_the_text_contradicts_is_refused() -> None:
    found = read_all_reduce(a_table(4), 8)
    assert isinstance(found, CollectiveFault)
    assert "lists 4 ranks and --gpus is 8" in found.message
