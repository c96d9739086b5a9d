"""The shell around the decision: observe, decide in a worker, check again, act, report."""
