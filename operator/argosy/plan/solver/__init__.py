"""The steps of a solve: the sizing program, its solves within a time limit, shares, the greedy fallback.

`argosy.plan.solve` puts them in order.
"""
