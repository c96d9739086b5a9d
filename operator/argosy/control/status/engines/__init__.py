"""What users read of engines, beside whether they serve."""
