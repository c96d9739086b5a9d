"""From the API server to the snapshot that decisions look at."""
