"""The demo: a story told on real components, and what it proves."""
