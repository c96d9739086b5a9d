"""A program that becomes another program which has lost its parent already.

    python -I -S outlive_parent.py PID_FD PROGRAM ARGUMENT...

Envoy asks the kernel to end it with its parent (observed on 1.40), so one that is to outlive the command
which starts it must be an orphan before it begins. Run by path, as `die_with_parent` is. Its pid, which the
program keeps, is written to the open file `PID_FD`. Linux only.
"""

import os
import sys
import time


def main(pid_fd: int, command: list[str]) -> None:
    """Fork, end, and let the child become `command`. Raises OSError where it cannot be run."""
    parent = os.getpid()
    child = os.fork()
    if child:
        os.write(pid_fd, str(child).encode())
        return
    os.close(pid_fd)
    while os.getppid() == parent:
        time.sleep(0.001)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
