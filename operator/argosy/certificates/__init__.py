"""The certificates of mutual TLS between Envoys and the operator: how they are read, made and renewed."""
