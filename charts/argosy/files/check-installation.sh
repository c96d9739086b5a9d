# Whether an installation serves; prints a sentence for each part.
#
#   bash check-installation.sh OPERATOR PORT GATEWAY PORT
set -u
operator=$1 operator_port=$2 gateway=$3 port=$4

ask() { # HOST PORT PATH: prints the answer
  local line
  { exec 3<>"/dev/tcp/$1/$2"; } 2>/dev/null || return 1
  printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$3" "$1" >&3
  while IFS= read -r -t 10 line <&3 || [[ -n $line ]]; do printf '%s\n' "${line%$'\r'}"; done
  exec 3>&-
}

if ! answer=$(ask "$operator" "$operator_port" /readyz/ads); then
  echo "operator: $operator:$operator_port does not answer; look at: kubectl get pods -l app.kubernetes.io/component=operator"
  exit 1
elif [[ $answer != 'HTTP/1.1 200'* ]]; then
  echo "operator: it does not serve Envoys yet:"
  echo "$answer"
  exit 1
fi
echo "operator: it serves Envoys"

if ! answer=$(ask "$gateway" "$port" /v1/models); then
  echo "gateway: $gateway:$port does not answer; is spec.gateway.port of the Fleet the chart's envoy.gatewayPort?"
  exit 1
elif [[ ${answer,,} != *$'\nserver: argosy'* ]]; then
  echo "gateway: what answers at $gateway:$port is not an Envoy with Argosy's routes:"
  echo "$answer"
  exit 1
fi
echo "gateway: it answers (${answer%%$'\n'*})"
