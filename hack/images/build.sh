#!/bin/bash
# Builds the images, each tagged NAME:$TAG:   hack/images/build.sh [operator|simulator|envoy]...   default: all
#
#   TAG         tag of the images; default: dev
#   BASE        base image; default: the Dockerfiles' own. hack/images/base.sh makes one where no registry is reachable
#   WHEELHOUSE  folder of wheels, below the checkout; default: none, packages come from the index.
#               hack/images/wheelhouse.sh fills build/wheelhouse
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
TAG=${TAG:-dev}
ARGUMENTS=(${BASE:+--build-arg "BASE=$BASE"} ${WHEELHOUSE:+--build-arg "WHEELHOUSE=$WHEELHOUSE"})
[ $# -gt 0 ] || set -- operator simulator envoy
for image; do
  case $image in
    operator | simulator) docker build "${ARGUMENTS[@]}" -f hack/images/Dockerfile --target "$image" -t "argosy-$image:$TAG" . ;;
    envoy) docker build "${ARGUMENTS[@]}" -f hack/images/envoy.Dockerfile -t "argosy-envoy:$TAG" . ;;
    *) echo "$image is none of operator, simulator, envoy" >&2; exit 2 ;;
  esac
done
