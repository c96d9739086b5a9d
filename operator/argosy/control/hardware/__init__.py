"""Which GPU a pool has: as its spec declares it, and as its nodes' labels describe it."""
