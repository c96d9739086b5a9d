"""The certificates of mutual TLS in a running operator: those that it serves with or renews."""
