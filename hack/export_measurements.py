"""Write perf/data/measurements.csv: measured vLLM runs, the rows that the model is judged by.

Run from the repository's root with `argosy[profiles]` installed: `python hack/export_measurements.py`.
The source is `systems/silicon_sample.csv` of aiconfigurator-core (NVIDIA's and InferenceMAX's
measurements, Apache-2.0): every row of backend vllm and mode agg, in the file's order, with the
columns that say what ran and what was measured. `row` is the row's number in the source (0 is
the first after the header), so that a reader can go back to it. `--check` compares instead.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

OUTPUT = Path(__file__).parent.parent / "operator/argosy/perf/data/measurements.csv"
COLUMNS = (
    "row", "model", "system", "precision", "engine_version", "prompt_tokens", "output_tokens", "concurrency",
    "tensor_parallel", "pipeline_parallel", "data_parallel", "moe_tensor_parallel", "expert_parallel",
    "ttft_ms", "tpot_ms",
)  # fmt: skip
_CONCURRENCY = re.compile(r"silicon_concurrency=(\d+)")


def content() -> str:
    """The whole file."""
    source = files("aiconfigurator_core").joinpath("systems/silicon_sample.csv").read_text("utf-8")
    out = io.StringIO()
    out.write(
        f"# systems/silicon_sample.csv of aiconfigurator-core {version('aiconfigurator-core')} (Apache-2.0):"
        " rows of backend vllm, mode agg; written by hack/export_measurements.py\n"
    )
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, row in enumerate(csv.DictReader(io.StringIO(source))):
        if (row["backend"], row["mode"]) == ("vllm", "agg"):
            writer.writerow(_values(number, row))
    return out.getvalue()


def _values(number: int, row: dict[str, str]) -> tuple[object, ...]:
    stated = _CONCURRENCY.search(row["silicon_data_source"])
    return (
        number,
        row["model_path"],
        row["system"],
        row["gemm_quant_mode"] or row["precision"] or "bfloat16",
        row["backend_version"],
        row["isl"],
        row["osl"],
        stated.group(1) if stated else row["batch_size"],
        row["tp_size"],
        row["pp_size"] or "1",
        row["attention_dp_size"] or "1",
        row["moe_tp_size"] or "1",
        row["moe_ep_size"] or "1",
        f"{float(row['silicon_ttft_ms']):.6g}",
        f"{float(row['silicon_tpot_ms']):.6g}",
    )


def main() -> None:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the file that is there")
    check, written = parser.parse_args().check, content()
    if check:
        sys.exit(0 if OUTPUT.read_text("utf-8") == written else f"{OUTPUT.name} is not what the source says")
    OUTPUT.write_text(written, encoding="utf-8")
    print(f"wrote {OUTPUT.name}: {written.count(chr(10)) - 2} rows")


if __name__ == "__main__":
    main()
