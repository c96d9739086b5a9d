"""Manifests in files: text as values, files and folders as objects, and what is not read of them."""
