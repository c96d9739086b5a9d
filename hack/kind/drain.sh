# preStop of an Envoy: clients are asked to use other connections, then the last request ends, then SIGTERM comes.
# bash alone, because Envoy's image has no HTTP client.
admin() { # METHOD PATH
  exec 3<> /dev/tcp/127.0.0.1/9901
  printf '%s %s HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$1" "$2" >&3
  cat <&3
  exec 3>&-
}
active() { # requests of the gateway that have no full answer yet
  admin GET '/stats?usedonly&filter=^http\.(?!admin|argosy-stats).*downstream_rq_active$' | tr -d '\r' | awk '/rq_active: / {sum += $NF} END {print sum + 0}'
}
# Kubernetes takes this pod out of the Service meanwhile; responses carry "connection: close" from here on.
admin POST /healthcheck/fail > /dev/null
sleep 5
admin POST '/drain_listeners?graceful&skip_exit' > /dev/null
# Clients give up idle connections after 15 s and more; one that is closed just when a request is sent loses it.
sleep 15
for _ in $(seq 250); do
  [ "$(active)" -gt 0 ] || exit 0
  sleep 1
done
