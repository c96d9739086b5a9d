"""FleetPlan revisions: what one records, what it can hold, and its life."""
