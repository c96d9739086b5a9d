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
_BY_QUARK = {
    "fp8": Dtype.FP8,
    "fp4": Dtype.FP4,
    "mxfp4": Dtype.FP4,
    "int8": Dtype.INT8,
    "uint8": Dtype.INT8,
    "int4": Dtype.INT4,
    "uint4": Dtype.INT4,
}
_BY_BITS_METHODS = (
    "awq", "gptq", "auto-round", "bitsandbytes", "awq_marlin", "gptq_marlin", "auto_round",
)  # fmt: skip
_EXPERT_MATRICES = ("gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
# Lists of modules that stay in 16 bits: of most methods, of compressed-tensors, AutoFP8 and bitsandbytes.
_LEFT_OUT = ("modules_to_not_convert", "ignore", "ignored_layers", "llm_int8_skip_modules")
_LEAVES_OUT = re.compile(r"skip|ignore|exclude|not_convert|not_quant|unquant")
_UNQUANTISED_BITS = 16
_MIXED = "MIXED_PRECISION"
_PLACE = "quantization_config"


@dataclass(frozen=True)
class Group:
    """One number type and the module that it applies to: a name, a pattern, or a class of layers."""

    target: str
    dtype: Dtype

    @property
    def is_class(self) -> bool:
        """Whether it stands for all linear layers."""
        return self.target == "Linear"

    def names(self, module: str) -> bool:
        """Whether the target names this module."""
        return self.is_class or self._pattern.search(f"model.{module}") is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Raises UnreadableFieldError for an expression that is none."""
        try:
            if self.target.startswith("re:"):
                return re.compile(self.target.removeprefix("re:"))
            return re.compile(fnmatch.translate(f"*{_below_the_prefix(self.target)}*"))
        except re.error as fault:
            raise UnreadableFieldError(_PLACE, f"has an expression that is none: {fault}") from fault


@dataclass(frozen=True)
class Scheme:
    """The number types of a checkpoint.

    dtype:    of whatever is quantised
    excluded: names and patterns of modules that stay in 16 bits
    listed:   module name -> its own type, where the checkpoint lists what it quantised
    groups:   types by what they apply to, where a checkpoint has several: the first that names a module
              decides, and what none names stays in 16 bits
    is_mx:    FP4 with a scale per 32 numbers (MXFP4) instead of per 16 (NVFP4)
    """

    dtype: Dtype = Dtype.BF16
    kv_dtype: Dtype = Dtype.BF16
    weight_block: int = 0
    excluded: tuple[str, ...] = ()
    listed: Mapping[str, Dtype] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    is_mx: bool = False

    def of(self, module: str) -> Dtype:
        """The type of a matrix by its name, such as `layers.3.self_attn.q_proj`."""
        if self.listed:
            return self._listed_type(module)
        if self._is_excluded(module):
            return Dtype.BF16
        return self._of_groups(module) if self.groups else self.dtype

    def _of_groups(self, module: str) -> Dtype:
        # Experts are counted as one matrix, and named by a pattern one by one.
        names = [module, *(f"{module}.0.{each}" for each in _EXPERT_MATRICES if module.endswith("experts"))]
        for is_class in (False, True):  # a pattern of names is nearer than a class of layers
            for group in self.groups:
                if group.is_class is is_class and any(group.names(name) for name in names):
                    return group.dtype
        return Dtype.BF16

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
    if method == "quark":
        return _quark(written)
    excluded = _left_out(written)
    if method in _BY_METHOD:
        dtype = _BY_METHOD[method]
    elif isinstance(groups, Mapping) and groups:
        return _grouped(written, list(groups.values()), excluded)
    elif method == "compressed-tensors":  # of KV alone
        return Scheme(kv_dtype=_kv_type(written))
    elif method in _BY_BITS_METHODS:
        dtype = _of_bits("int", written.get("bits", written.get("w_bit", _bits_when_loaded(written))))
        return _overridden(written, dtype, excluded)
    else:
        known = ", ".join((*_BY_METHOD, *_BY_BITS_METHODS, "compressed-tensors", "quark"))
        raise UnreadableFieldError(f"{_PLACE}.quant_method", f"{method!r} is not known; known are {known}")
    return Scheme(dtype, _kv_type(written), _block(written), excluded, is_mx=_is_mx(written))


def _left_out(written: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules that stay in 16 bits. Raises UnreadableFieldError for a list of them by another name, and
    for weights that are stored sparsely."""
    for name, value in written.items():
        if name not in _LEFT_OUT and isinstance(value, list | tuple) and value and _LEAVES_OUT.search(name):
            raise UnreadableFieldError(f"{_PLACE}.{name}", f"{str(value)[:60]} may name modules in 16 bits")
    stored = _mapping(written.get("sparsity_config")).get("format", "dense")
    if stored != "dense":
        raise UnreadableFieldError(f"{_PLACE}.sparsity_config.format", f"{stored!r} is not understood")
    return tuple(entry for name in _LEFT_OUT for entry in _names(written, name))


def _grouped(written: Mapping[str, Any], groups: list[object], excluded: tuple[str, ...]) -> Scheme:
    """Of compressed-tensors: each group of modules with a type of its own, in any order."""
    found = [
        Group(str(target), _of_group(group))
        for group in groups
        for target in _mapping(group).get("targets") or ("Linear",)
    ]
    is_mx = _is_mx(written) or any("mxfp4" in str(_mapping(group).get("format")) for group in groups)
    return _of_groups(found, _kv_type(written), _block(written), excluded, is_mx)


def _of_groups(found: list[Group], kv: Dtype, block: int, excluded: tuple[str, ...], is_mx: bool) -> Scheme:
    smallest = min((group.dtype for group in found), key=_SIZES.index)
    is_plain = len(found) == 1 and found[0].is_class
    ordered = tuple(sorted(found, key=lambda group: group.target))
    return Scheme(smallest, kv, block, excluded, groups=() if is_plain else ordered, is_mx=is_mx)


def _overridden(written: Mapping[str, Any], dtype: Dtype, excluded: tuple[str, ...]) -> Scheme:
    """Of GPTQ and AutoRound: modules that have other bits than the rest (`dynamic`, `extra_config`)."""
    quantised = _flat(written.get("modules_in_block_to_quantize")) or ["Linear"]
    groups, left_out = [Group(target, dtype) for target in quantised], list(excluded)
    rules = {**_mapping(written.get("dynamic")), **_mapping(written.get("extra_config"))}
    for name, rule in rules.items():
        bits = _mapping(rule).get("bits")
        target = f"re:{name[2:]}" if name[:2] in ("-:", "+:") else name
        if name.startswith("-:") or bits == _UNQUANTISED_BITS:
            left_out.append(target)
        elif bits is not None:
            groups.append(Group(target, _of_bits("int", bits)))
    return _of_groups(groups, _kv_type(written), _block(written), tuple(left_out), is_mx=False)


def _quark(written: Mapping[str, Any]) -> Scheme:
    """AMD Quark: a type for all, and other types by the pattern of a name."""
    overall, by_layer = (
        _mapping(written.get("global_quant_config")),
        _mapping(written.get("layer_quant_config")),
    )
    groups = [Group(str(name), _quark_type(_mapping(config))) for name, config in by_layer.items()]
    groups.append(Group("Linear", _quark_type(overall)))
    kv_groups = _mapping(written.get("export")).get("kv_cache_group") or written.get("kv_cache_quant_config")
    kv = Dtype.FP8 if kv_groups else Dtype.BF16
    return _of_groups(groups, kv, 0, _names(written, "exclude"), is_mx="fp4" in str(overall.get("weight")))


def _quark_type(config: Mapping[str, Any]) -> Dtype:
    weight = config.get("weight")
    weight = weight[0] if isinstance(weight, list) and weight else weight
    name = str(_mapping(weight).get("dtype"))
    for start, dtype in _BY_QUARK.items():
        if name.startswith(start):
            return dtype
    raise UnreadableFieldError(
        f"{_PLACE}.global_quant_config.weight.dtype",
        f"{name!r} is not known; known are {', '.join(_BY_QUARK)}",
    )


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


def _flat(entries: object) -> list[str]:
    """Names in a list, or in lists of those that are quantised together."""
    if not isinstance(entries, list | tuple):
        return [str(entries)] if entries else []
    return [name for entry in entries for name in _flat(entry)]


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
