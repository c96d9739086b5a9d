"""Write the model catalogue, and the KV capacities that the memory model is checked against.

    PYTHONPATH=operator python hack/export_catalogue.py

Reads the model configurations that aiconfigurator-core carries (pip install 'argosy[profiles]')
and the few of hand_configs.HAND; writes operator/argosy/perf/catalogue/models.json and
tests/data/perf/kv_capacity.csv. The same input gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from catalogue_targets import MODELS, Target
from hand_configs import HAND, directory_of
from models_document import models_document

from argosy.perf.catalogue import Checkpoint, ConfigFault, Model, architecture_from_config
from argosy.snapshot.architecture import Architecture, Dtype

REPOSITORY = Path(__file__).parent.parent
MODELS_FILE = REPOSITORY / "operator" / "argosy" / "perf" / "catalogue" / "models.json"
CAPACITY_FILE = REPOSITORY / "tests" / "data" / "perf" / "kv_capacity.csv"
HOW_TO_GET_IT = "aiconfigurator-core is not installed: pip install 'argosy[profiles]'"

# Catalogue name -> system and the vLLM whose tables it has.
SYSTEMS = {
    "H100": ("h100_sxm", "0.24.0"),
    "H200": ("h200_sxm", "0.24.0"),
    "B200": ("b200_sxm", "0.24.0"),
    "B300": ("b300_sxm", "0.24.0"),
    "GB200": ("gb200", "0.24.0"),
    "GB300": ("gb300", "0.24.0"),
    "A100": ("a100_sxm", "0.14.0"),
    "L40S": ("l40s", "0.24.0"),
    "RTX-PRO-6000": ("rtx_pro_6000_server", "0.24.0"),
}
RANKS = (1, 2, 4, 8)
# What makes a bf16 checkpoint FP8 in the reference, as `quantization: fp8` does in vLLM.
QUANTISE = {"gemm_quant_mode": "fp8", "moe_quant_mode": "fp8"}
KV_NAMES = {Dtype.BF16: "bfloat16", Dtype.FP8: "fp8"}


def package() -> Path:
    """Where aiconfigurator-core is installed."""
    try:
        import aiconfigurator_core
    except ImportError:
        sys.exit(HOW_TO_GET_IT)
    return Path(aiconfigurator_core.__file__).parent


def version() -> str:
    """The version of aiconfigurator-core."""
    from importlib.metadata import version as installed

    return installed("aiconfigurator-core")


# --- models.json ------------------------------------------------------------------------------


def catalogue() -> bytes:
    """The content of models.json."""
    return models_document(_model(key, targets) for key, targets in MODELS.items())


def _model(key: str, targets: list[Target]) -> Model:
    checkpoints, sources = [], []
    for target in targets:
        config, hf_quant, source = _config(target.config or target.name)
        read = architecture_from_config(config, hf_quant)
        if isinstance(read, ConfigFault):
            sys.exit(f"{target.name}: {read.message}")
        checkpoints.append(Checkpoint(target.name, _with(read, target.differs)))
        sources.append(source)
    first = _dimensions(checkpoints[0].architecture)
    odd = [c.name for c in checkpoints if _dimensions(c.architecture) != first]
    if odd:
        sys.exit(f"{key}: {', '.join(odd)} have other dimensions than {checkpoints[0].name}")
    source = "; ".join(dict.fromkeys(sources)) + "; parameters counted from the dimensions"
    return Model(key, checkpoints[0].architecture, tuple(checkpoints), source)


def _with(architecture: Architecture, differs: Mapping[str, Any]) -> Architecture:
    typed: dict[str, Any] = {n: Dtype(value) if "dtype" in n else value for n, value in differs.items()}
    return replace(architecture, **typed)


def _dimensions(architecture: Architecture) -> Architecture:
    """The architecture without what checkpoints may differ in (of MLA, `head_dim` is a leftover)."""
    return replace(
        architecture,
        dtype=Dtype.BF16,
        kv_dtype=Dtype.BF16,
        max_context=1,
        weight_block=0,
        layout=None,
        head_dim=1 if architecture.mla_kv_dim else architecture.head_dim,
    )


def _config(name: str) -> tuple[dict[str, Any], dict[str, Any] | None, str]:
    """(config.json, hf_quant_config.json, source) of a checkpoint."""
    if name in HAND:
        config, source = HAND[name]
        return config, None, source
    stem = package() / "model_configs" / name.replace("/", "--")
    config = json.loads(Path(f"{stem}_config.json").read_text())
    quant = Path(f"{stem}_hf_quant_config.json")
    source = f"aiconfigurator-core {version()} model_configs/{stem.name}_config.json"
    return config, json.loads(quant.read_text()) if quant.exists() else None, source


# --- kv_capacity.csv --------------------------------------------------------------------------


def capacities() -> bytes:
    """The content of kv_capacity.csv: a header of provenance, then tokens by GPU."""
    text = io.StringIO()
    specs = {gpu: _capacity_bytes(system) for gpu, (system, _) in SYSTEMS.items()}
    text.write(
        f"# aiconfigurator-core {version()}, estimate_kv_cache(..., total_kv_size_tokens), backend vllm\n"
    )
    text.write(
        "# max_num_tokens=8192 max_batch_size=256 memory_fraction_kind=of_total memory_fraction_value=0.9\n"
    )
    text.write("# written by hack/export_catalogue.py; empty: no room for KV, or the reference refuses\n")
    text.write(f"# memory_bytes {json.dumps(specs)}\n")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["checkpoint", "quantization", "kv_dtype", "tp", "expert_parallel", *SYSTEMS])
    for row in _capacity_rows():
        rows.writerow(row)
    return text.getvalue().encode()


def _capacity_bytes(system: str) -> int:
    import yaml

    spec = yaml.safe_load((package() / "systems" / f"{system}.yaml").read_text())
    return int(spec["gpu"]["mem_capacity"])


def _capacity_rows() -> Iterator[list[object]]:
    logging.disable(logging.CRITICAL)
    for targets in MODELS.values():
        for target in targets:
            if target.config:  # The same figures under another name.
                continue
            yield from _rows_of(target.name)


def _rows_of(name: str) -> Iterator[list[object]]:
    config, hf_quant, _ = _config(name)
    architecture = architecture_from_config(config, hf_quant)
    assert isinstance(architecture, Architecture)
    if name in HAND and architecture.sliding_layers:
        return  # Known to the reference only as another architecture, without its windows.
    with tempfile.TemporaryDirectory() as directory:
        path = directory_of(config, hf_quant, Path(directory))
        for quantisation in (None, Dtype.FP8) if architecture.dtype is Dtype.BF16 else (None,):
            for kv in (Dtype.BF16, Dtype.FP8):
                for ranks in RANKS:
                    yield from _row(path, (name, quantisation, kv, ranks), architecture)


def _row(
    path: str, asked: tuple[str, Dtype | None, Dtype, int], architecture: Architecture
) -> Iterator[list[object]]:
    name, quantisation, kv, ranks = asked
    is_expert_parallel = bool(
        architecture.is_moe and architecture.weight_block
        and architecture.expert_intermediate_size % (ranks * architecture.weight_block)
    )  # fmt: skip
    modes = {**(QUANTISE if quantisation else {}), "kvcache_quant_mode": KV_NAMES[kv]}
    tokens = [_tokens(path, system, (ranks, is_expert_parallel), modes) for system in SYSTEMS.values()]
    if any(tokens):
        yield [name, quantisation or "", kv, ranks, int(is_expert_parallel), *(t or "" for t in tokens)]


def _tokens(path: str, system: tuple[str, str], cut: tuple[int, bool], modes: dict[str, str]) -> int:
    from aiconfigurator_core.sdk import estimate_kv_cache

    ranks, is_expert_parallel = cut
    experts = (1, ranks) if is_expert_parallel else (ranks, 1)
    try:
        estimate = estimate_kv_cache(
            path, system[0], "vllm", system[1], max_num_tokens=8192, max_batch_size=256,
            memory_fraction_kind="of_total", memory_fraction_value=0.9, tp_size=ranks,
            moe_tp_size=experts[0], moe_ep_size=experts[1], **modes,
        )  # fmt: skip
    except (ValueError, AssertionError):
        return 0
    return int(estimate["total_kv_size_tokens"])


def main() -> None:
    """Write both files."""
    MODELS_FILE.write_bytes(catalogue())
    CAPACITY_FILE.write_bytes(capacities())


if __name__ == "__main__":
    main()
