"""What the control plane needs from the machine: child processes, loopback ports, locks."""
