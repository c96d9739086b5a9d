"""The command `ip` of a host, in memory: its routes, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from argosy_sim.livefleet.errors import AttachError

DEFAULT = {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}
DOCKER = {"dst": "172.17.0.0/16", "dev": "br-1", "protocol": "kernel"}


@dataclass
class FakeIp:
    """`ip -4`: `routes` as `ip -json route show` prints them; `refusal` is what `add` and `del` answer."""

    routes: list[dict[str, str]] = field(default_factory=lambda: [DEFAULT, DOCKER])
    refusal: str = ""

    def __call__(self, arguments: Sequence[str]) -> str:
        """Run it."""
        match list(arguments):
            case ["-json", "route", "show", "table", "all"]:
                return json.dumps(self.routes)
            case ["-json", "route", "show", "table", "all", "type", "local", "proto", number]:
                found = [r for r in self.routes if r.get("type") == "local" and r.get("protocol") == number]
                return json.dumps(found) if found else ""
            case ["route", verb, "local", network, "dev", "lo", "proto", number]:
                return self._change(verb, {"type": "local", "dst": network, "protocol": number})
        raise AssertionError(arguments)

    def _change(self, verb: str, route: dict[str, str]) -> str:
        is_there = route in self.routes
        if self.refusal or is_there == (verb == "add"):
            raise AttachError(f"`ip route {verb}` failed: {self.refusal or 'RTNETLINK answers: File exists'}")
        (self.routes.append if verb == "add" else self.routes.remove)(route)
        return ""

    def fleets(self) -> list[str]:
        """The networks of the routes that fleets added."""
        return [route["dst"] for route in self.routes if route.get("protocol") == "214"]
