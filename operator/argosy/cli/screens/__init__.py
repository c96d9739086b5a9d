"""What the commands compute and print: one module per command, and `replica`, which reads shared options.

The module of a command has `show`: what was asked, if anything, and an `Output` in; a JSON document or text
out. The performance model, the planner and their libraries are imported here, so a command's flags import its
screen only when it runs.
"""
