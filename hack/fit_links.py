"""Fit the bandwidth of an all-reduce over PCIe through the host, and judge it on sizes held out.

Input: the directory `systems/data` of aiconfigurator-core and pyarrow, which the project does not
install. Output: per number of GPUs the latency and the bandwidth of `perf/catalogue/links.py`, and the
error on the sizes that were not used: every other size between 4 KiB and 128 MiB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq

from argosy.perf.catalogue import find_gpu
from argosy.perf.catalogue.links import Link, PcieTransport, all_reduce_terms, pcie_link
from argosy.perf.measurements.collectives import TimedMessage, fitted_reduce
from argosy.snapshot import Gpu

BYTES_PER_ELEMENT = 2
SMALLEST, LARGEST = 4 * 2**10, 128 * 2**20
MACHINES = {
    "L40S": ("l40s", "nccl/2.27.3", "vllm/0.22.0", PcieTransport.THROUGH_HOST),
    "RTX-PRO-6000": ("rtx_pro_6000_server", "nccl/2.29.2", "vllm/0.24.0", PcieTransport.PEER_TO_PEER),
}


def main(data: Path) -> None:
    """Print the fit of each machine, and the error of what is charged."""
    for name, (folder, nccl, vllm, transport) in MACHINES.items():
        gpu = find_gpu(name)
        if not isinstance(gpu, Gpu):
            raise SystemExit(gpu.message)
        link = pcie_link(gpu.pcie_bytes_per_s, transport)
        tables = {
            "vLLM in a graph": data / folder / "comm" / vllm / "custom_allreduce_perf.parquet",
            "NCCL": data / folder / "comm" / nccl / "nccl_perf.parquet",
        }
        for label, path in tables.items():
            for num_gpus in (2, 4, 8):
                _report(
                    f"{name}, {link.name}, {label}, {num_gpus} GPUs",
                    num_gpus,
                    _messages(path, num_gpus),
                    link,
                )


def _messages(path: Path, num_gpus: int) -> list[TimedMessage]:
    rows = [
        row
        for row in pq.read_table(path).to_pylist()
        if row["op_name"] == "all_reduce"
        and row["num_gpus"] == num_gpus
        and row["kernel_source"] in {"NCCL", "vLLM_custom_graph"}
        and row.get("nccl_dtype", "half") == "half"
    ]
    sized = [TimedMessage(BYTES_PER_ELEMENT * row["message_size"], row["latency"]) for row in rows]
    return sorted(each for each in sized if SMALLEST <= each.num_bytes <= LARGEST)


def _report(label: str, num_gpus: int, messages: list[TimedMessage], link: Link) -> None:
    fitted, judged = messages[::2], messages[1::2]
    found = fitted_reduce(num_gpus, fitted)
    own = (found.latency_ms, found.ms_per_byte)
    charged = all_reduce_terms(num_gpus, link)
    print(
        f"{label}: {1e3 * found.latency_ms:.1f} us, {found.bytes_per_s / 1e9:.2f} GB/s;"
        f" held out: fit {_errors(own, judged)}, charged {_errors(charged, judged)}"
    )


def _errors(terms: tuple[float, float], messages: list[TimedMessage]) -> str:
    ratios = [(terms[0] + terms[1] * each.num_bytes) / each.milliseconds for each in messages]
    off = sorted(abs(ratio - 1) for ratio in ratios)
    return f"median {off[len(off) // 2]:.0%}, worst {off[-1]:.0%}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
