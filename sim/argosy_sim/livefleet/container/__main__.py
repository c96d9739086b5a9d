"""Run one simulated engine: `python -m argosy_sim.livefleet.container --model ...`, vLLM's arguments."""

import sys

from argosy_sim.livefleet.container.engine import main

sys.exit(main(sys.argv[1:]))
