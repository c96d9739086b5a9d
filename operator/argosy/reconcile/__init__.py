"""The loop: observe, decide in a worker, look again, act, report."""
