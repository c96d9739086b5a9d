"""Capacity surfaces: built once per engine, kept as bytes, asked for any mix within any SLO."""
