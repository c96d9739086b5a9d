"""From the API server to the snapshot that decisions are made on."""
