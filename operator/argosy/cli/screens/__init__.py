"""What each command computes and prints."""
