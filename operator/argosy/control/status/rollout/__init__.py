"""How far a roll-out is: of one class, and of a whole FleetPlan."""
