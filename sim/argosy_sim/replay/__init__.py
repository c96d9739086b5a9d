"""The live client: sends a planned load to a running endpoint and records every answer."""
