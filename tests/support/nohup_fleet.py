"""`nohup argosy sim fleet &` in a shell that ends: run within a walk of the quick start, before its end.

It takes the place of the fleet that runs and outlives its shell, as where a terminal closes; the walk's
`argosy sim down` ends it. Ends with 1 and the assertion where that is not so.
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


if __name__ == "__main__":
    main()
