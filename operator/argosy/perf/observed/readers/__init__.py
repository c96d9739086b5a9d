"""Files with one entry per request: one reader per tool, and the choice of the reader by content.

Input: a file's bytes. Output: an `ObservedRun`, or an `UnreadableRun`.
"""
