"""What a run is measured by: records, percentiles, attainment, cost, confidence intervals.

Knows no story, no clock and no server: a live run and a simulated one are measured by the same functions.
"""
