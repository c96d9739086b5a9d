"""What users read of exchanges of replicas."""
