"""The load that one replica carries within an SLO: by simulation, in a steady state, from surfaces."""
