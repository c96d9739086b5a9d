"""The power that a GPU draws, and the energy and cost of a token."""
