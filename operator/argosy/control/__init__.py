"""The decision itself: `step(snapshot, memory, settings, perf) -> Decision`."""
