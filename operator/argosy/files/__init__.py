"""What Argosy reads from files and keeps in files."""
