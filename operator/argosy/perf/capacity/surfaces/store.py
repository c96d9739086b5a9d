"""A surface as bytes, and back.

Owns the format of what a cache keeps: the arrays of one `Surface`, its limits and its key behind a
hash of all that follows. The caller owns files and names them by the key. Damaged or outdated bytes
are a value with a reason: the surface is built again.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

from argosy.engine.request import EngineLimits
from argosy.perf.capacity.surfaces import grid
from argosy.perf.capacity.surfaces.surface import LONE_PROMPT_TOKENS, Surface
from argosy.refusals import Refused

_MAGIC = b"argosy-surface-1\n"
_HASH_BYTES = 32


class UnusableReason(StrEnum):
    """Why bytes hold no surface for a key."""

    NOT_A_SURFACE = "NotASurface"
    DAMAGED = "Damaged"
    OTHER_LAYOUT = "OtherLayout"
    """Written by a version that has other arrays."""
    OTHER_KEY = "OtherKey"
    """A surface of other step times, limits or settings."""


@dataclass(frozen=True, slots=True)
class UnusableSurface(Refused[UnusableReason]):
    """These bytes hold no surface for the key that was asked for, and why."""


def to_bytes(surface: Surface) -> bytes:
    """About 150 KB; equal surfaces give equal bytes."""
    arrays = {name: getattr(surface, name) for name in _shapes()}
    about = {"key": surface.key, "unit_ms": surface.unit_ms, "limits": asdict(surface.limits)}
    buffer = io.BytesIO()
    np.savez(buffer, about=np.array(json.dumps(about)), **arrays)
    content = buffer.getvalue()
    return _MAGIC + hashlib.sha256(content).digest() + content


def from_bytes(stored: bytes, key: str) -> Surface | UnusableSurface:
    """The surface that was made from what `key` says."""
    start = len(_MAGIC) + _HASH_BYTES
    if not stored.startswith(_MAGIC) or len(stored) <= start:
        return UnusableSurface(UnusableReason.NOT_A_SURFACE, "not a capacity surface")
    content = stored[start:]
    if hashlib.sha256(content).digest() != stored[len(_MAGIC) : start]:
        message = "the bytes were damaged or changed after they were written"
        return UnusableSurface(UnusableReason.DAMAGED, message)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            arrays = {name: archive[name] for name in _shapes()}
            surface = Surface(
                key=about["key"], limits=EngineLimits(**about["limits"]), unit_ms=about["unit_ms"], **arrays
            )
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as fault:
        message = f"not the layout of this version: {type(fault).__name__} {fault}"
        return UnusableSurface(UnusableReason.OTHER_LAYOUT, message)
    if surface.key != key:
        message = "made from other step times, limits or settings, or by another version"
        return UnusableSurface(UnusableReason.OTHER_KEY, message)
    wrong = [name for name, shape in _shapes().items() if shape and arrays[name].shape != shape]
    if wrong:
        message = f"not the layout of this version: {', '.join(wrong)}"
        return UnusableSurface(UnusableReason.OTHER_LAYOUT, message)
    return surface


def _shapes() -> dict[str, tuple[int, ...]]:
    """The arrays of a surface; () where the shape depends on the engine."""
    loads, levels, steps = len(grid.LOADS), len(grid.LEVELS), len(grid.DECODE_STEPS)
    return {
        "cost_ms": (5,),
        "lone_ttft_ms": (len(LONE_PROMPT_TOKENS),),
        "speed_ms": (),
        "dispersion": (grid.NUM_NODES,),
        "log_saturation": (grid.NUM_NODES,),
        "wait_roots": (grid.NUM_NODES, loads, levels),
        "gap_roots": (grid.NUM_NODES, loads, steps, levels),
    }
