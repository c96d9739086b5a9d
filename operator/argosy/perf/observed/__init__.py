"""Runs that were observed request by request: read, replayed on the simulated engine, and fitted to.

run       the nouns                        file       Argosy's own format
readers   the formats of benchmark tools
replay    the same requests, simulated     calibrate  a profile from a run's first requests
"""
