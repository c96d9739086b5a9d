"""Prefill and decode on different replicas: what each carries, and whether it pays."""
