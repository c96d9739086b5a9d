"""The `argosy sim replay` command: a planned load against a running endpoint, by `argosy.client`.

load     which request is sent when          options  flags
command  `argosy sim replay`                 flags    their checks
job      its work
"""
