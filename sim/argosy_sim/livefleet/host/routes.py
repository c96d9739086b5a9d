"""Owns this host's routes, by the command `ip`: which networks they take, and the route of a fleet's pods.

`ip route add local 198.18.0.0/16 dev lo` makes every address of the network one of this host: it can be
bound, and packets that containers of this host send there arrive. The route carries a number of its own as
its protocol, so that a later fleet recognises what a killed one left. It needs root.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from argosy_sim.livefleet.errors import AttachError
from argosy_sim.livefleet.host.ranges import Taken

Run = Callable[[Sequence[str]], str]
"""Arguments of `ip` -> its output. Raises AttachError where it fails."""

# Of the numbers that no routing daemon has (rt_protos).
PROTOCOL = "214"
_CAP_NET_ADMIN = 12
_TIMEOUT_S = 10.0


def require_linux_and_root(
    platform: str = sys.platform, status: Path = Path("/proc/self/status"), program: str = "ip"
) -> None:
    """Raises AttachError, with the remedy, where this process cannot set routes."""
    if platform != "linux":
        raise AttachError(
            "simulated nodes are attached to a cluster on Linux only: elsewhere its nodes run in a virtual"
            " machine, whose pods cannot reach this host's addresses. Use `make kind`: its engines are pods",
            "--kubeconfig",
        )
    if shutil.which(program) is None:
        raise AttachError(f"the command `{program}` is not on the PATH: install iproute2", "--kubeconfig")
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    if not int(fields["CapEff"], 16) >> _CAP_NET_ADMIN & 1:
        raise AttachError(
            "a route for the pods' addresses is needed, which only root may set (CAP_NET_ADMIN): run the same"
            ' by sudo, as in `sudo "$(command -v argosy)" sim fleet --kubeconfig ...`',
            "--kubeconfig",
        )


def run_ip(arguments: Sequence[str]) -> str:
    """Run `ip` for IPv4; its output. Raises AttachError with what it says."""
    command = ["ip", "-4", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AttachError(f"`{' '.join(command)}` failed: {error}") from error
    if done.returncode != 0:
        raise AttachError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


class HostRoutes:
    """The routes of this host. `run` is `run_ip`, but in tests."""

    def __init__(self, run: Run = run_ip) -> None:
        self._run = run

    def taken(self) -> list[Taken]:
        """Every network that a route names, but for the default route."""
        found = (each["dst"] for each in self._show(["table", "all"]) if each["dst"] != "default")
        return [Taken(IPv4Network(each), "a route of this host") for each in found]

    def fleets(self) -> list[IPv4Network]:
        """The networks that fleets have added: of those that run, and of those that were killed."""
        shown = self._show(["table", "all", "type", "local", "proto", PROTOCOL])
        return [IPv4Network(each["dst"]) for each in shown]

    def add(self, network: IPv4Network) -> None:
        """Make all addresses of a network this host's. Raises AttachError."""
        self._run(["route", "add", *self._words(network)])

    def remove(self, network: IPv4Network) -> None:
        """Take it back. Raises AttachError."""
        self._run(["route", "del", *self._words(network)])

    @staticmethod
    def _words(network: IPv4Network) -> list[str]:
        return ["local", str(network), "dev", "lo", "proto", PROTOCOL]

    def _show(self, words: list[str]) -> list[dict[str, Any]]:
        # Without a route `ip` prints nothing, or an empty list, by version.
        found: list[dict[str, Any]] = json.loads(
            self._run(["-json", "route", "show", *words]).strip() or "[]"
        )
        return found
