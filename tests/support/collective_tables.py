"""Output of nccl-tests' all_reduce_perf, as it prints it.

Input: the link that it measures. Output: text.
"""

from __future__ import annotations

from collections.abc import Sequence

SIZES = tuple(2**power for power in range(13, 28))
_HEAD = "# nThread 1 nGpus {gpus} minBytes 8192 maxBytes 134217728 step: 2(factor) warmup iters: 5 iters: 20"
_TIMED = "   time   algbw   busbw #wrong  "
_COLUMNS = f"""#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root  {_TIMED}{_TIMED}
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""


def a_table(
    gpus: int,
    ranks: int | None = None,
    latency_us: float = 13.0,
    bus_gb_per_s: float = 3.9,
    sizes: Sequence[int] = SIZES,
    columns: int = 13,
    times: Sequence[str] = (),
) -> str:
    """A run of so many GPUs; `ranks`: lines `# Rank` (None: one per GPU); `times`: instead of the link's."""
    lines = [_HEAD.format(gpus=gpus), "# Using devices"]
    count = gpus if ranks is None else ranks
    lines += [
        f"#  Rank {rank:2} Group  0 Pid {100 + rank} on node device {rank:2} L40S" for rank in range(count)
    ]
    passes = 2 * (gpus - 1) / gpus
    rows = []
    for number, size in enumerate(sizes):
        microseconds = latency_us + size * passes / bus_gb_per_s / 1e3
        shown = times[number] if number < len(times) else f"{microseconds:.2f}"
        algorithm = size / microseconds / 1e3
        root = "      -1" if columns == 13 else ""
        timed = f"{shown:>9} {algorithm:7.2f} {passes * algorithm:7.2f}      0"
        rows.append(f"{size:12} {size // 4:13}     float     sum{root} {timed} {timed}")
    return "\n".join(lines) + "\n" + _COLUMNS + "\n".join(rows) + "\n"
