"""Kubeconfig files for commands that need one."""

UNREACHABLE = """
apiVersion: v1
kind: Config
current-context: nowhere
contexts: [{name: nowhere, context: {cluster: nowhere, user: unknown}}]
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: unknown, user: {token: none}}]
"""
"""Of a cluster that refuses every connection."""
