"""Mutual TLS of the ADS server: its certificates, and which connections were refused."""
