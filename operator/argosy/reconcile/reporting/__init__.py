"""What the process says of itself: log lines, what goes wrong now, heartbeats, /healthz and /readyz."""
