"""What a decision does where its picture of the cluster is not complete."""
