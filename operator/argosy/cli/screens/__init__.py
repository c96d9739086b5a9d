"""What the commands compute and print: one module per command.

Each has `show(asked, output)`: options as written in, a JSON document or text out. The performance model, the
planner and their libraries are imported here, so a command's flags import its screen only when it runs.
"""
