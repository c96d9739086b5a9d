"""FleetPlan revisions: what one records, what it can hold, and what becomes of it."""
