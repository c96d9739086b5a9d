"""How an engine spreads a decoder's matrices over tensor-parallel ranks.

Owns the conventions of the memory model that Argosy's is checked against (aiconfigurator-core
0.12.0, `estimate_kv_cache`), where they differ from the checkpoint's own sums. The conventions, and
what they make of the truth:

- embedding and head count as two tables even where they are one (small models, Gemma), the embedding is
  whole on every rank of MLA and windowed models, and a plain mixture of experts has no output head: tables
  are compared so, and counted as vLLM has them (`footprint.weights`);
- an MLA model's leading dense layers count as layers of experts (DeepSeek-V3: 5 % too much);
- the scales of MXFP4 and INT4 count as nothing (gpt-oss: 6 % of the weights too little), those
  of NVFP4 as a sixteenth of a byte per number.
"""

from __future__ import annotations

from argosy.perf.catalogue.modules import Decoder, MatrixKind, Module, modules
from argosy.perf.catalogue.quantization import Scheme
from argosy.snapshot.architecture import Dtype, Family, WeightLayout

BYTES_PER_PARAMETER = {
    Dtype.BF16: 2.0,
    Dtype.FP8: 1.0,
    Dtype.INT8: 1.0,
    Dtype.FP4: 9 / 16,
    Dtype.INT4: 0.5,
}
_MXFP4_BYTES = 0.5


def weight_layout(decoder: Decoder, family: Family, scheme: Scheme) -> WeightLayout:
    """The layout of these matrices, with their bytes where the checkpoint mixes number types."""
    table = decoder.vocabulary * decoder.hidden
    is_whole = family in (Family.MLA, Family.WINDOWED)
    head = 0 if _drops_the_head(decoder, family) else table
    counted = _counted(decoder, family)
    split = [m for m in counted if m.kind in (MatrixKind.SPLIT, MatrixKind.EXPERTS)]
    whole = [m for m in counted if m.kind is MatrixKind.WHOLE]
    routers = sum(m.parameters for m in counted if m.kind is MatrixKind.ROUTER)
    split_bytes, whole_bytes = _stored_bytes(split, scheme), _stored_bytes(whole, scheme)
    num_split, num_whole = sum(m.parameters for m in split), sum(m.parameters for m in whole)
    per_parameter = BYTES_PER_PARAMETER[scheme.dtype]
    is_mixed = split_bytes != int(num_split * per_parameter) or whole_bytes != int(num_whole * per_parameter)
    return WeightLayout(
        split_tables=head + (0 if is_whole else table),
        whole_tables=table if is_whole else 0,
        split=num_split,
        whole=num_whole,
        routers=routers,
        stored_split_bytes=split_bytes if is_mixed else 0,
        stored_whole_bytes=whole_bytes + 2 * routers if is_mixed else 0,
    )


def _counted(decoder: Decoder, family: Family) -> list[Module]:
    counted = [m for m in modules(decoder) if not m.name.endswith("indexer.wk")]
    if family is not Family.MLA or not decoder.mlp.experts:
        return counted
    layers = len(decoder.plan)
    last = [m for m in counted if m.name.startswith(f"layers.{layers - 1}.")]
    return [m for m in counted if not m.name.startswith("layers.")] + last * layers


def _drops_the_head(decoder: Decoder, family: Family) -> bool:
    is_plain = not decoder.mlp.shared_width and family is not Family.WINDOWED
    return decoder.mlp.experts > 0 and decoder.mla is None and is_plain


def _stored_bytes(counted: list[Module], scheme: Scheme) -> int:
    total = 0.0
    for module in counted:
        dtype = scheme.of(module.name)
        is_mx = dtype is Dtype.FP4 and scheme.is_mx
        total += module.parameters * (_MXFP4_BYTES if is_mx else BYTES_PER_PARAMETER[dtype])
    return int(total)
