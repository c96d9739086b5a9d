"""The first process of a container that really runs: it ends all others with the fleet.

    python -I -S container_init.py FLEET_PID PROGRAM ARGUMENT...

An engine starts processes of its own, which a signal to the engine does not reach. So this one leads their
process group: SIGTERM goes on to the program; when the fleet has ended, by whatever, the whole group is
killed. Its exit code is the program's, 128 + N for one that signal N ended. Linux only.
"""

import ctypes
import os
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1


def main(fleet_pid: int, command: list[str]) -> int:
    """Run `command` to its end. Raises OSError where it cannot be run."""
    program = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if os.getppid() != fleet_pid:
            os.killpg(0, signal.SIGKILL)
        if program:
            os.kill(program, number)

    signal.signal(signal.SIGTERM, on_signal)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != fleet_pid:
        return 0  # it died before the request was made
    program = os.posix_spawn(command[0], command, os.environ, setsigdef=[signal.SIGTERM])
    _, status = os.waitpid(program, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
