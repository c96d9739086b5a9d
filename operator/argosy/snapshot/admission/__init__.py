"""What a cluster refuses, and by which object: the API server's and the scheduler's words, quotas, bounds."""
