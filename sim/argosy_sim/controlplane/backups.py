"""Owns copies of etcd's data: how one is taken beside running programs, and how one is put back.

Input: the layout of a control plane's directory, its etcd, the directory of a copy. Output: the copy, or
etcd's data replaced by it; which programs run meanwhile is `cluster`'s business. A copy holds

    etcd/           the data directory
    backup.json     whose it is; written last, so what lacks it is not a whole copy

etcd is frozen for the copy (a tenth of a second): the files are then as after a crash at that moment, which
etcd's log and database are made for, and its clients only notice that an answer is late.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from argosy_sim.controlplane.errors import BackupError
from argosy_sim.controlplane.host.processes import Identity, send, thread_states
from argosy_sim.controlplane.state import Layout

FREEZE_TIMEOUT_S = 10.0
_POLL_S = 0.002
_MARK = "backup.json"
_DATA = "etcd"


@dataclass(frozen=True, slots=True)
class Backup:
    """Whose data a copy holds, and from when (Unix seconds)."""

    started_at_s: float
    taken_at_s: float


_BACKUP = TypeAdapter(Backup)


def take(layout: Layout, started_at_s: float, etcd: Identity, to: Path) -> None:
    """Copy the data of a running etcd to the new directory `to`. Raises `BackupError`; nothing is left then.

    started_at_s: when the control plane was started, by which the copy is known as its own
    """
    if to.exists():
        raise BackupError(f"{to} exists already; name a directory that does not exist")
    partial = to.with_name(f"{to.name}.partial")
    try:
        partial.mkdir(parents=True)
        with _frozen(etcd):
            taken_at_s = time.time()
            # The next segments of the log are only reserved room (64 MB): etcd makes them again.
            shutil.copytree(layout.etcd, partial / _DATA, ignore=shutil.ignore_patterns("*.tmp"))
        (partial / _MARK).write_bytes(_BACKUP.dump_json(Backup(started_at_s, taken_at_s)))
        partial.rename(to)
    except OSError as error:
        raise BackupError(f"the copy of etcd's data in {to} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def prepare(layout: Layout, started_at_s: float, backup: Path) -> None:
    """Lay the copy beside etcd's data, so that `put_back` only renames. Raises `BackupError`."""
    try:
        found = _BACKUP.validate_json((backup / _MARK).read_bytes())
    except (OSError, ValidationError) as error:
        raise BackupError(
            f"{backup} is no whole copy of etcd's data ({_MARK} in it cannot be read); name one that "
            "`argosy sim backup` has made"
        ) from error
    if found.started_at_s != started_at_s:
        raise BackupError(
            f"{backup} is of another control plane than the one in {layout.directory}: its certificates and "
            "ports are others; name a copy that was taken since this one was started"
        )
    shutil.rmtree(layout.etcd_next, ignore_errors=True)
    try:
        shutil.copytree(backup / _DATA, layout.etcd_next)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(layout.etcd_next, ignore_errors=True)
        raise BackupError(f"{backup} cannot be copied to {layout.etcd_next}: {error}") from error


def put_back(layout: Layout) -> None:
    """Replace etcd's data by what `prepare` has laid beside it; etcd must have ended."""
    shutil.rmtree(layout.etcd)
    layout.etcd_next.rename(layout.etcd)


@contextmanager
def _frozen(etcd: Identity) -> Iterator[None]:
    """Hold etcd still; it goes on however the block ends."""
    if not send(etcd, signal.SIGSTOP):
        raise BackupError("etcd does not run: there is nothing to copy; start the control plane again")
    try:
        give_up_s = time.monotonic() + FREEZE_TIMEOUT_S
        # A write that is under way ends before its thread stops.
        while set(thread_states(etcd)) != {"T"}:
            if time.monotonic() > give_up_s:
                raise BackupError(f"etcd (pid {etcd.pid}) was not still within {FREEZE_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)
        yield
    finally:
        send(etcd, signal.SIGCONT)
