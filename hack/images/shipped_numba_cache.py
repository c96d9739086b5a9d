"""Where numba finds the code that was compiled when the image was built: in the image, read-only.

Owns the place. numba's own locators take a folder only where they can write a file to it, which a container
with a read-only root file system refuses; it would then compile for half a minute at every start. Named in
the image's NUMBA_CACHE_LOCATOR_CLASSES. The code is valid on every machine, because the image also sets
NUMBA_CPU_NAME to generic: under another value this locator is not used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from numba.core import config
from numba.core.caching import UserProvidedCacheLocator


class ShippedCacheLocator(UserProvidedCacheLocator):
    """The folder `numba` of this Python environment, for functions of which it holds compiled code."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        self._py_file = py_file
        self._lineno = py_func.__code__.co_firstlineno
        self._cache_path = str(Path(sys.prefix) / "numba" / self.get_suitable_cache_subpath(py_file))

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Self | None:
        """None where the image holds nothing for this function, or the processor is not the one it is for."""
        if config.CPU_NAME != "generic":
            return None
        located = cls(py_func, py_file)
        # numba writes the name of a function inside another one in a form of its own; its line is its own.
        pattern = f"{Path(py_file).stem}.*{py_func.__name__}-{py_func.__code__.co_firstlineno}.*.nbi"
        return located if any(Path(located.get_cache_path()).glob(pattern)) else None

    def ensure_cache_path(self) -> None:
        """Nothing is written here."""
