"""`python -m argosy_sim.livefleet`: the fleet's process."""

from argosy_sim.livefleet.process import main

raise SystemExit(main())
