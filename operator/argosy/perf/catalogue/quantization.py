"""In which number type a checkpoint stores each of its matrices.

Owns reading quantization_config (Hugging Face) and hf_quant_config.json (ModelOpt). Input: the JSON
mappings; output: a `Scheme` that answers for one module's name.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from argosy.perf.catalogue.fields import UnreadableFieldError
from argosy.snapshot.architecture import Dtype

_BY_METHOD = {"fp8": Dtype.FP8, "fbgemm_fp8": Dtype.FP8, "mxfp4": Dtype.FP4}
_BY_ALGORITHM = {
    "FP8": Dtype.FP8,
    "FP8_PER_CHANNEL_PER_TOKEN": Dtype.FP8,
    "FP8_PB_WO": Dtype.FP8,
    "MXFP8": Dtype.FP8,
    "NVFP4": Dtype.FP4,
    "W4A16_NVFP4": Dtype.FP4,
    "MXFP4": Dtype.FP4,
    "INT4_AWQ": Dtype.INT4,
    "W4A16_AWQ": Dtype.INT4,
    "INT8_SQ": Dtype.INT8,
    "W8A8_SQ_PER_CHANNEL": Dtype.INT8,
}
_BY_BITS = {
    ("float", 8): Dtype.FP8,
    ("float", 4): Dtype.FP4,
    ("int", 8): Dtype.INT8,
    ("int", 4): Dtype.INT4,
}
_MIXED = "MIXED_PRECISION"
_PLACE = "quantization_config"


@dataclass(frozen=True)
class Scheme:
    """The number types of a checkpoint.

    dtype:    of whatever is quantised
    excluded: names and patterns of modules that stay in 16 bits
    listed:   module name -> its own type, where the checkpoint lists what it quantised
    is_mx:    FP4 with a scale per 32 numbers (MXFP4) instead of per 16 (NVFP4)
    """

    dtype: Dtype = Dtype.BF16
    kv_dtype: Dtype = Dtype.BF16
    weight_block: int = 0
    excluded: tuple[str, ...] = ()
    listed: Mapping[str, Dtype] = field(default_factory=dict)
    is_mx: bool = False

    def of(self, module: str) -> Dtype:
        """The type of a matrix by its name, such as `layers.3.self_attn.q_proj`."""
        if self.listed:
            return self._listed_type(module)
        return Dtype.BF16 if self._is_excluded(module) else self.dtype

    def _listed_type(self, module: str) -> Dtype:
        exact = self.listed.get(module)
        if exact is not None:
            return exact
        # Experts are listed one by one, and counted here as one matrix.
        return self._listed_parents.get(module, Dtype.BF16)

    @cached_property
    def _listed_parents(self) -> dict[str, Dtype]:
        parents: dict[str, Dtype] = {}
        for name, dtype in self.listed.items():
            words = name.split(".")
            parents.update({".".join(words[:end]): dtype for end in range(3, len(words))})
        return parents

    def _is_excluded(self, module: str) -> bool:
        names, pattern = self._exclusions
        words = module.split(".")
        if any(".".join(words[:end]) in names for end in range(1, len(words) + 1)):
            return True
        return not names.isdisjoint(words) or bool(pattern and pattern.search(f"model.{module}"))

    @cached_property
    def _exclusions(self) -> tuple[frozenset[str], re.Pattern[str] | None]:
        """Plain names (a module or any parent of it), and one expression of all patterns."""
        names, patterns = set(), []
        for entry in self.excluded:
            if entry.startswith("re:"):
                patterns.append(entry.removeprefix("re:"))
            elif "*" in entry:
                patterns.append(r"\." + fnmatch.translate(_below_the_prefix(entry).removeprefix("*."))[:-2])
            else:
                names.add(_below_the_prefix(entry))
        try:
            expression = re.compile("|".join(f"(?:{p})" for p in patterns)) if patterns else None
        except re.error as fault:
            raise UnreadableFieldError(_PLACE, f"has an expression that is none: {fault}") from fault
        return frozenset(names), expression


def read_scheme(configurations: Iterable[Mapping[str, Any]], model_opt: Mapping[str, Any] | None) -> Scheme:
    """The scheme that the first of the configurations with a `quantization_config` describes.

    `model_opt` is the content of hf_quant_config.json, which wins. Raises UnreadableFieldError.
    """
    written = next((c[_PLACE] for c in configurations if c.get(_PLACE)), None)
    if model_opt is not None:
        return _model_opt(_mapping(model_opt.get("quantization", model_opt)))
    if written is None:
        return Scheme()
    if not isinstance(written, Mapping):
        raise UnreadableFieldError(_PLACE, "must be a mapping")
    if written.get("quant_algo"):
        return _model_opt(written)
    return _hugging_face(written)


def _hugging_face(written: Mapping[str, Any]) -> Scheme:
    method = str(written.get("quant_method", ""))
    groups = written.get("config_groups")
    if method in _BY_METHOD:
        dtype = _BY_METHOD[method]
    elif isinstance(groups, Mapping) and groups:
        dtype = _of_group(next(iter(groups.values())))
    elif method in ("awq", "gptq", "auto-round", "bitsandbytes"):
        dtype = _of_bits("int", written.get("bits", written.get("w_bit", _bits_when_loaded(written))))
    else:
        raise UnreadableFieldError(f"{_PLACE}.quant_method", f"{method!r} is not known")
    excluded = _names(written, "modules_to_not_convert", "ignore")
    return Scheme(dtype, _kv_type(written), _block(written), excluded, is_mx=_is_mx(written))


def _bits_when_loaded(written: Mapping[str, Any]) -> int | None:
    """Of bitsandbytes, which quantises as it loads; None where nothing says."""
    if written.get("load_in_4bit"):
        return 4
    return 8 if written.get("load_in_8bit") else None


def _model_opt(written: Mapping[str, Any]) -> Scheme:
    algorithm = str(written.get("quant_algo"))
    kv = _kv_type(written)
    if algorithm == _MIXED:
        layers = written.get("quantized_layers")
        if not isinstance(layers, Mapping):
            raise UnreadableFieldError(f"{_PLACE}.quantized_layers", "must say what is quantised, and how")
        listed = {
            _below_the_prefix(str(name)): _of_algorithm(str(_mapping(layer).get("quant_algo")))
            for name, layer in layers.items()
        }
        smallest = min(listed.values(), key=_SIZES.index, default=Dtype.BF16)
        return Scheme(smallest, kv, listed=listed)
    excluded = _names(written, "exclude_modules", "ignore")
    return Scheme(_of_algorithm(algorithm), kv, excluded=excluded, is_mx=algorithm.startswith("MXFP4"))


_SIZES = (Dtype.FP4, Dtype.INT4, Dtype.FP8, Dtype.INT8, Dtype.BF16)


def _of_algorithm(name: str) -> Dtype:
    if name not in _BY_ALGORITHM:
        raise UnreadableFieldError(f"{_PLACE}.quant_algo", f"{name!r} is not known")
    return _BY_ALGORITHM[name]


def _of_group(group: object) -> Dtype:
    weights = _mapping(_mapping(group).get("weights"))
    return _of_bits(str(weights.get("type", "int")), weights.get("num_bits"))


def _of_bits(kind: str, bits: object) -> Dtype:
    if not isinstance(bits, int) or (kind, bits) not in _BY_BITS:
        raise UnreadableFieldError(f"{_PLACE}.num_bits", f"{kind} with {bits} bits is not known")
    return _BY_BITS[kind, bits]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _names(written: Mapping[str, Any], *fields: str) -> tuple[str, ...]:
    entries = next((written[field] for field in fields if written.get(field)), ())
    return tuple(str(entry) for entry in entries) if isinstance(entries, list | tuple) else ()


def _block(written: Mapping[str, Any]) -> int:
    sizes = written.get("weight_block_size")
    if not sizes:
        return 0
    if not isinstance(sizes, list | tuple) or not isinstance(sizes[0], int) or sizes[0] < 1:
        raise UnreadableFieldError(f"{_PLACE}.weight_block_size", f"must be two whole numbers, not {sizes!r}")
    return sizes[0]


def _kv_type(written: Mapping[str, Any]) -> Dtype:
    """What the checkpoint says of KV: its scales. vLLM's `auto` follows it, else KV is in 16 bits."""
    said = written.get("kv_cache_quant_algo") or written.get("kv_cache_scheme")
    return Dtype.FP8 if said else Dtype.BF16


def _is_mx(written: Mapping[str, Any]) -> bool:
    return "mxfp4" in f"{written.get('quant_method', '')} {written.get('format', '')}"


def _below_the_prefix(name: str) -> str:
    """`model.language_model.layers.0.mlp` -> `layers.0.mlp`; draft layers and towers stay as they are."""
    start = name.find("layers.")
    if start < 0:
        return name if "*" in name else name.rsplit(".", 1)[-1]
    is_decoder = not any(tower in name[:start] for tower in ("mtp", "visual", "vision", "audio"))
    return name[start:] if is_decoder else name
