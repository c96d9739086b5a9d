"""`nohup argosy sim fleet &` in a shell that ends: run within a walk of the quick start, before its end.

It takes the place of the fleet that runs, outlives its shell as a terminal closes, and is the only one in
its state directory; the walk's `argosy sim down` ends it. Ends with 1 and the assertion where that is not so.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from waiting import until

from argosy_sim import local
from argosy_sim.controlplane.host.processes import end, is_running

STATE = Path("~/.local/state/argosy/default")


def main() -> None:
    """What the module promises, assertion by assertion."""
    layout = local.fleet_layout(STATE)
    former = layout.load()
    assert former is not None
    end(former.process, local.GRACE_S)
    shell = subprocess.Popen(
        ["bash", "-c", "nohup argosy sim fleet > ~/fleet.log 2>&1 & disown; exit"], start_new_session=True
    )
    assert shell.wait(timeout=20) == 0
    fleet = until(layout.load, "the fleet to be up")
    os.killpg(shell.pid, signal.SIGHUP)
    assert is_running(fleet.process)
    again = subprocess.run(["argosy", "sim", "fleet"], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (2, "")
    assert f"a live fleet (pid {fleet.process.pid}) runs in " in again.stderr


if __name__ == "__main__":
    main()
