"""How figures are shown: HTML and SVG, terminal tables, and the wording of single values.

Knows no story: what to show comes in as values.
"""
