"""The commands below `argosy perf`: their flags. What they compute and print is in `cli.screens`."""
