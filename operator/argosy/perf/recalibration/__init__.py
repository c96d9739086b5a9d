"""Profiles that follow what engines really do: windows of counters, least squares, memory."""
