"""Reports of benchmark tools as rows: one reader per tool, and the choice of the reader by content.

Input: a file's bytes. Output: `Measurements`, or an `UnreadableReport`.
"""
