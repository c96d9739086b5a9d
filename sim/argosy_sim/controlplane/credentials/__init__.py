"""What proves an identity to the API server: certificates, ServiceAccount tokens, kubeconfig files."""
