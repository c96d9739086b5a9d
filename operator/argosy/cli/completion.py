"""Names that the shell completes: models and GPUs of the catalogue.

Input: what is typed so far. Output: names that begin with it, in any case. The shell waits for it at every
TAB, so nothing but the catalogue is imported, and only then.
"""

from __future__ import annotations


def model_names(incomplete: str) -> list[str]:
    """Checkpoint ids, such as meta-llama/Llama-3.1-8B-Instruct, and short names, such as llama-3.1-8b."""
    from argosy.perf.catalogue import models

    return _beginning_with(incomplete, [name for model in models() for name in (*model.names, model.key)])


def gpu_names(incomplete: str) -> list[str]:
    """GPUs by catalogue name, such as H100."""
    from argosy.perf.catalogue import gpus

    return _beginning_with(incomplete, [gpu.name for gpu in gpus()])


def _beginning_with(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.lower().startswith(incomplete.lower())]
