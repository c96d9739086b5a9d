"""How hot loops are compiled, and when machine code on disk is still valid.

Owns the settings of numba for all kernels: those of the twin and of capacity surfaces. Input: plain
Python functions over arrays. Output: compiled ones that release the interpreter's lock. Import it
only where something is simulated or searched, because numba takes half a second.

numba keeps the machine code of an entry function on disk and notices when that function or the
file around it changes, but not when a function or a constant in another file does. It also
compares the values that the function closes over: so the entry of a `Kernel`, which is spread over
files, closes over a hash of everything that was compiled into it. A kernel in one file needs only
`compiled` and `kept_on_disk`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function, *signature: str, **settings: bool) -> Function:
    """The function as machine code, for `signature` or, without one, for the types of each first call."""
    return cast(Function, njit(*signature, nogil=True, error_model="numpy", **settings)(function))


def kept_on_disk(function: Function, *signature: str, **settings: bool) -> Function:
    """`compiled`, read from disk where it is there; compiled in each process if no directory is writable."""
    try:
        return compiled(function, *signature, cache=True, **settings)
    except RuntimeError:
        return compiled(function, *signature, **settings)


class Kernel:
    """The functions behind one or more entries, and the constants they take from `layout`.

    Constants are the whole numbers, the tuples' fields and the arrays of that module; a function
    takes no other, because only these are part of the hash.

    The functions allocate nothing: the caller of an entry passes all arrays. That lets numba leave out
    the counting of references to arrays, which took six sevenths of the time of the first kernel
    (1.5 against 10 million requests/s).
    """

    def __init__(self, layout: ModuleType) -> None:
        self._content = hashlib.sha256()
        for name, value in vars(layout).items():
            if isinstance(value, int):
                self._content.update(f"{name}={value};".encode())
            elif isinstance(value, type):
                self._content.update(f"{name}{getattr(value, '_fields', ())};".encode())
            elif isinstance(value, np.ndarray):
                self._content.update(f"{name}:{value.dtype}{value.shape}=".encode() + value.tobytes())

    def inlined(self, function: Function) -> Function:
        """Compile into each caller: otherwise the arrays of a state are some eighty machine arguments."""
        code = function.__code__
        self._content.update(repr((code.co_name, code.co_code, code.co_consts, code.co_names)).encode())
        return _uncounted(compiled, function, forceinline=True)

    def entry(self, signature: str, make: Callable[[str], Function]) -> Function:
        """Compile the function that `make` returns for one signature; it has to close over the given hash."""
        return _uncounted(kept_on_disk, make(self._content.hexdigest()), signature)


def _uncounted(
    compile_: Callable[..., Function], function: Function, *signature: str, **settings: bool
) -> Function:
    try:
        return compile_(function, *signature, _nrt=False, **settings)
    except KeyError:
        # A numba without this setting counts references: slower, with the same results.
        return compile_(function, *signature, **settings)
