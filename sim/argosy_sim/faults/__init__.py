"""The table of faults: what users and machines do to a fleet, each tried on real components and judged."""
