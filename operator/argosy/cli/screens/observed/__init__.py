"""What the commands on observed runs compute and print: `argosy perf observe`, `replay` and `calibrate`."""
