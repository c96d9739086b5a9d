"""What `spec.engine.args` say of a flag, as vLLM's parser reads them.

Owns the forms: `--flag value`, `--flag=value`, and underscores for hyphens. Of several the last one counts.
Input: the arguments, a flag with hyphens. Output: its value, or whether a switch is on.
"""

from __future__ import annotations

from collections.abc import Sequence


def value_of(args: Sequence[str], flag: str) -> str | None:
    """The flag's value; empty where the arguments end with the flag, None where it is not there."""
    found = None
    for number, arg in enumerate(args):
        name, is_joined, value = arg.partition("=")
        if _plain(name) == flag:
            found = value if is_joined else next(iter(args[number + 1 : number + 2]), "")
    return found


def switch(args: Sequence[str], flag: str) -> bool | None:
    """Whether a switch is on (`--flag`) or off (`--no-flag`); None where neither is there."""
    off = f"--no-{flag.removeprefix('--')}"
    said = [plain for arg in args if (plain := _plain(arg)) in (flag, off)]
    return said[-1] == flag if said else None


def _plain(name: str) -> str:
    return name.replace("_", "-")
