"""The demo: a story played on real components, and what it shows."""
