"""The demo's users, in a process of their own: the story's load, replayed through Envoy.

Owns the command line between the demo and its replayer. The load is a pure function of the
arguments, so only they are passed to the process.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import uvloop

from argosy.client.open_loop import RecordFile, ReplayTarget, replay
from argosy.client.planned import PlannedRequest
from argosy.errors import SpecError
from argosy_sim.demo.story import DRAIN_S, Story, default_story
from argosy_sim.replay.load import ClassLoad, plan_load
from argosy_sim.traffic import BadTrace, Trace, UnknownArchetype, find_archetype, load_trace

TRACED_CLASS = "chat"


@dataclass(frozen=True, slots=True)
class LoadChoice:
    """What the environment variables TRACE, RATE and SEED choose.

    trace: a file that replaces the chat class's lengths and arrival pattern; None: its archetype
    trace_start_s: where in the trace the replay begins
    """

    trace: Path | None = None
    rate: float = 1.0
    seed: int = 1
    trace_start_s: float = 0.0
    skip_bad_lines: bool = False

    def arguments(self) -> list[str]:
        """The command line that makes the same choice."""
        chosen = ["--rate", repr(self.rate), "--seed", str(self.seed)]
        if self.trace is not None:
            chosen += ["--trace", str(self.trace), "--trace-start", repr(self.trace_start_s)]
        if self.skip_bad_lines:
            chosen.append("--skip-bad-lines")
        return chosen


def read_trace(choice: LoadChoice) -> Trace | None:
    """The chosen trace; raises `SpecError` with every bad line where it cannot be read."""
    if choice.trace is None:
        return None
    trace = load_trace(choice.trace, skip_bad_lines=choice.skip_bad_lines)
    if isinstance(trace, BadTrace):
        raise SpecError(f"{trace}; --skip-bad-lines (SKIP_BAD_LINES=1) goes on without bad lines", "TRACE")
    return trace.window(choice.trace_start_s, float("inf")) if choice.trace_start_s else trace


def class_loads(story: Story, choice: LoadChoice) -> tuple[ClassLoad, ...]:
    """What each class sends: the story's rates, with the trace's lengths and pattern where one is given.

    Raises SpecError for a trace that cannot be read, or an archetype that is not known.
    """
    trace = read_trace(choice)
    loads = []
    for each in story.classes:
        archetype = find_archetype(each.archetype)
        if isinstance(archetype, UnknownArchetype):
            raise SpecError(str(archetype), each.name)
        lengths = trace if trace is not None and each.name == TRACED_CLASS else archetype
        loads.append(
            ClassLoad(
                name=each.name,
                model=each.model,
                lengths=lengths,
                schedule=story.schedule(each.name),
                seed=choice.seed,
                headers=each.headers,
            )
        )
    return tuple(loads)


def planned_requests(choice: LoadChoice) -> tuple[PlannedRequest, ...]:
    """All requests of the story, by arrival."""
    return plan_load(class_loads(default_story(choice.rate), choice))


def main(arguments: list[str]) -> int:
    """Replay the story's load; its records go to `--out` line by line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--trace-start", type=float, default=0.0)
    parser.add_argument("--skip-bad-lines", action="store_true")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--origin", type=float, required=True, help="start of act 1, Unix time in seconds")
    options = parser.parse_args(arguments)
    choice = LoadChoice(
        options.trace, options.rate, options.seed, options.trace_start, options.skip_bad_lines
    )
    target = ReplayTarget(base_url=options.url, drain_timeout_s=DRAIN_S)
    with RecordFile(options.out) as sink:
        uvloop.run(replay(planned_requests(choice), target, sink, options.origin))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
