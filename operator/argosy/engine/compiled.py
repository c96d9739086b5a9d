"""How the hot loops are compiled, and when compiled code that was kept is still good.

Owns the settings of numba for kernels of this project. Never imported before something is
simulated, because numba takes half a second.

numba keeps the machine code of an entry function on disk and notices when that function or the
file around it changes, but not when a function or a constant in another file does. It also
compares the values that the function closes over: so an entry closes over a hash of everything
that was compiled into it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


class Kernel:
    """The functions behind one or more entries, and the constants they take from `layout`.

    They allocate nothing: whoever calls an entry brings all arrays. That lets numba leave out
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

    def inlined(self, function: Function) -> Function:
        """Compile into whoever calls it.

        Without, the arrays of a state make some eighty machine arguments per call.
        """
        code = function.__code__
        self._content.update(repr((code.co_name, code.co_code, code.co_consts, code.co_names)).encode())
        return _compiled(function, forceinline=True)

    def entry(self, signature: str, make: Callable[[str], Function]) -> Function:
        """Compile for one signature what `make` returns, which has to use the hash it is given."""
        function = make(self._content.hexdigest())
        try:
            return _compiled(function, signature, cache=True)
        except RuntimeError:
            # No directory can be written: compile again in each process.
            return _compiled(function, signature)


def _compiled(function: Function, *signature: str, **settings: bool) -> Function:
    try:
        compiled = njit(*signature, nogil=True, error_model="numpy", _nrt=False, **settings)(function)
    except KeyError:
        # A numba without this setting counts references: slower, and just as right.
        compiled = njit(*signature, nogil=True, error_model="numpy", **settings)(function)
    return cast(Function, compiled)
