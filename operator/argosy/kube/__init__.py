"""The API server, in and out."""
