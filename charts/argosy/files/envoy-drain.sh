#!/bin/bash
# Drains the Envoy of this pod, before Kubernetes ends it: its health checks fail, so that Services leave it out and
# its answers ask clients to connect anew; then this waits until no request runs.
#
#   bash drain.sh LEAST MOST        seconds to wait, at least and at most
#
# LEAST: new connections come until every node knows the Service's new endpoints, and a connection that is idle is
# used again until its client gives it up. Needs bash and sleep: the admin interface is on 127.0.0.1, where no HTTP
# hook of the kubelet reaches it.
set -u
shortest=${1:?seconds to wait at least} longest=${2:?seconds to wait at most}
admin=${ARGOSY_ENVOY_ADMIN_PORT:-9901}

ask() { # METHOD PATH: prints the answer
  local line
  { exec 3<>"/dev/tcp/127.0.0.1/$admin"; } 2>/dev/null || return 1
  printf '%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$1" "$2" >&3
  while IFS= read -r -t 5 line <&3 || [[ -n $line ]]; do printf '%s\n' "${line%$'\r'}"; done
  exec 3>&-
}

running() { # how many requests run through the gateway
  local answer line total=0
  answer=$(ask GET '/stats?filter=downstream_rq_active') || return 1
  while IFS= read -r line; do
    case $line in
      http.admin.* | http.argosy-stats.*) ;; # questions about Envoy itself
      http.*.downstream_rq_active:*) total=$((total + ${line##*: })) ;;
    esac
  done <<<"$answer"
  printf '%s' "$total"
}

ask POST /healthcheck/fail >/dev/null || exit 0 # no Envoy runs
while ((SECONDS < longest)); do
  left=$(running) || exit 0
  if ((left == 0 && SECONDS >= shortest)); then exit 0; fi
  sleep 0.5
done
