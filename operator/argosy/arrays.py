"""Names of the array types that step times, capacities and traces are made of.

Owns the aliases only; shapes and units are said where an array is taken or given.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
