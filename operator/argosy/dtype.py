"""Number types of weights and KV cache.

Owns their one list: ServedModels name them, and the performance model computes with them.
"""

from __future__ import annotations

from enum import StrEnum


class Dtype(StrEnum):
    """How a number is stored. FP4 is NVFP4 and MXFP4; both, and INT4, carry a scale per block.

    BF16 is 16 bits: float16 on a GPU without bfloat16.
    """

    BF16 = "bf16"
    FP8 = "fp8"
    FP4 = "fp4"
    INT8 = "int8"
    INT4 = "int4"
