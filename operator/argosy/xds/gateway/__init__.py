"""What clients meet at Envoy: the listener with its filters and replies, the routes, the access log."""
