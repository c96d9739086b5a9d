"""A program that becomes another program which the kernel ends with its parent.

    python -I -S die_with_parent.py PARENT_PID PROGRAM ARGUMENT...

Run by path, in a process of its own, so that the request (PR_SET_PDEATHSIG) is made in a
single-threaded process: a `preexec_fn` would run Python between fork and exec of a threaded
one, where a lock may be held that is never released. The request survives exec. Linux only.

"Parent" means the *thread* that forked: the caller must keep that thread alive (see
`processes`).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    """Ask to be killed with the parent, then become `command`. Raises OSError where either is refused."""
    # SIGKILL: an API server whose etcd ended first was observed to ignore SIGTERM for minutes.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        return  # it died before the request was made
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
