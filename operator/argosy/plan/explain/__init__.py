"""Why a plan is as it is, in sentences.

Owns the way from counts to a `Plan`: its shortfalls, its reasons and the rejected alternatives.
"""
