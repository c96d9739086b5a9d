#!/bin/bash
# Argosy on a kind cluster, with simulated engines as real pods:   hack/kind.sh up | cluster | fleet | down
#
#   up       (make kind) the cluster, the chart, the fleet, then requests. It can be run again after a change
#   cluster  only the kind cluster of the current kubectl context, else one that is created: with the images and fake GPUs,
#            without Argosy. It stands in for a cluster with GPUs of your own
#   fleet    only examples/small with simulated engines, once the custom resources are there
#   down     (make kind-down) deletes the cluster if it was created here, else takes Argosy out of it
#
#   KIND_CLUSTER     name of a cluster to create; default: argosy
#   KIND_NODE_IMAGE  image of its nodes; default: kind's own, which kind pulls
#   GPUS_PER_NODE    GPUs that each node reports; default: 2, or more where fewer than three nodes take ordinary pods
#   RATE, SECONDS_OF_LOAD   chat requests per second, and for how long; default: 4, 30
#   TAG, BASE, WHEELHOUSE   as for hack/images/build.sh
#
# Where no image registry can be reached, bring a node image into Docker first (`docker load`, `docker import`) and name it in
# KIND_NODE_IMAGE; make a base image with hack/images/base.sh, fill a wheelhouse with hack/images/wheelhouse.sh, and set
# BASE=argosy-base:bookworm WHEELHOUSE=build/wheelhouse.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export TAG=${TAG:-dev}
NAMESPACE=argosy-system
CREATED=argosy.dev/created-by-hack-kind
GPU_LABEL=nvidia.com/gpu.product
RENDERED=$(mktemp -d)
trap 'rm -rf "$RENDERED"' EXIT

say() { printf '%s %s\n' "$(date +%T)" "$*"; }
need() { # PROGRAM REMEDY
  command -v "$1" > /dev/null || { echo "$1 is not on the PATH: $2" >&2; exit 2; }
}
logged() { # FILE COMMAND...: what it prints goes to the file, and its end to the terminal where it fails
  local file=$1; shift
  mkdir -p "$(dirname "$file")"
  "$@" > "$file" 2>&1 || { tail -50 "$file" >&2; exit 1; }
}
# The cluster of the current context, where that is one of kind's and answers.
current() {
  local context
  context=$(kubectl config current-context 2> /dev/null) || return 1
  [[ $context == kind-* ]] && kubectl get --raw /readyz > /dev/null 2>&1 && echo "${context#kind-}"
}
# Every kubelet, containerd and kube-proxy of kind watches files; the usual limit of 128 is just enough for one cluster.
watchers() {
  local limit
  limit=$(sysctl -n fs.inotify.max_user_instances 2> /dev/null) || return 0
  [ "$limit" -ge 256 ] || say "if nodes or kube-proxy end with \"too many open files\", as beside another cluster:" \
    "sudo sysctl fs.inotify.max_user_instances=512 (it is $limit)"
}

cluster() {
  if CLUSTER=$(current); then say "using the kind cluster $CLUSTER"; return; fi
  CLUSTER=${KIND_CLUSTER:-argosy}
  say "creating the kind cluster $CLUSTER"
  watchers
  kind create cluster --name "$CLUSTER" --config hack/kind/cluster.yaml --wait 180s ${KIND_NODE_IMAGE:+--image "$KIND_NODE_IMAGE"}
  kubectl label --overwrite nodes --all $CREATED=true > /dev/null
}

images() {
  say "building the images (the first time for minutes; build/images.log has the output)"
  logged build/images.log hack/images/build.sh
  say "loading them into the nodes"
  logged build/load.log kind load docker-image --name "$CLUSTER" "argosy-operator:$TAG" "argosy-simulator:$TAG" "argosy-envoy:$TAG"
}

# Every node that takes ordinary pods gets L40S GPUs; the last one of four or more gets H100s. Engines ask the API server.
nodes() {
  local all node gpus per product=NVIDIA-L40S place=0
  kubectl apply --server-side -f hack/kind/engine-rbac.yaml > /dev/null
  mapfile -t all < <(kubectl get nodes -l '!node-role.kubernetes.io/control-plane' -o name)
  [ ${#all[@]} -gt 0 ] || mapfile -t all < <(kubectl get nodes -o name)
  per=${GPUS_PER_NODE:-$((${#all[@]} < 3 ? 6 / ${#all[@]} : 2))}  # the example needs four
  gpus="{\"nvidia.com/gpu\": \"$per\"}"
  for node in "${all[@]}"; do
    place=$((place + 1))
    [ $place -lt 4 ] || [ $place -lt ${#all[@]} ] || product=NVIDIA-H100-80GB-HBM3
    kubectl label --overwrite "$node" $GPU_LABEL=$product > /dev/null
    kubectl patch "$node" --subresource=status --type=merge -p "{\"status\": {\"capacity\": $gpus, \"allocatable\": $gpus}}" > /dev/null
    say "$node reports $per x $product"
  done
}

# helm from the PATH, else the one that `make setup` builds.
helm() {
  HELM=${HELM:-$(type -P helm || .venv/bin/python -c 'from argosy_sim.controlplane.binaries import helm; print(helm())')}
  "$HELM" --namespace $NAMESPACE "$@"
}
image_id() { docker image inspect --format '{{.Id}}' "$1:$TAG" | cut -c8-19; }
install() {
  say "installing the chart"
  kubectl create namespace $NAMESPACE --dry-run=client -o yaml | kubectl apply --server-side -f - > /dev/null
  kubectl label --overwrite namespace $NAMESPACE pod-security.kubernetes.io/enforce=restricted > /dev/null
  # One that was interrupted would refuse every other.
  if helm list --pending --short | grep -qx argosy; then helm uninstall argosy --wait; fi
  # The ids: another image under the same tag is another pod.
  helm upgrade --install argosy charts/argosy --values hack/kind/values.yaml --wait --timeout 10m \
    --set-string "image.tag=$TAG,operator.podAnnotations.image=id-$(image_id argosy-operator)" \
    --set-string "envoy.image.tag=$TAG,envoy.podAnnotations.image=id-$(image_id argosy-envoy)" > "$RENDERED/notes.txt"
}
uninstall() {
  kubectl delete --ignore-not-found -f hack/kind/engine-rbac.yaml > /dev/null
  if helm status argosy > /dev/null 2>&1; then
    helm upgrade argosy charts/argosy --reuse-values --set uninstall.removeEverything=true --wait --timeout 10m > /dev/null
    helm uninstall argosy --wait --timeout 10m
  fi
  kubectl delete --ignore-not-found -f crds/ > /dev/null
  kubectl delete --ignore-not-found namespace $NAMESPACE > /dev/null
  local node
  for node in $(kubectl get nodes -l $GPU_LABEL -o name); do
    kubectl label "$node" $GPU_LABEL- > /dev/null
    kubectl patch "$node" --subresource=status --type=json \
      -p '[{"op": "remove", "path": "/status/capacity/nvidia.com~1gpu"}, {"op": "remove", "path": "/status/allocatable/nvidia.com~1gpu"}]' > /dev/null
  done
}
tagged() { # FILE...: with the images' tag
  local file
  for file; do
    sed "s/\(argosy-[a-z]*\):dev/\1:$TAG/" "$file"
    echo ---
  done
}

fleet() {
  say "applying examples/small with simulated engines"
  local per
  per=$(kubectl get nodes -l $GPU_LABEL -o jsonpath='{.items[0].status.capacity.nvidia\.com/gpu}')
  kubectl kustomize --load-restrictor LoadRestrictionsNone hack/kind/fleet | tagged /dev/stdin \
    | sed "s/gpusPerNode: .*/gpusPerNode: $per/" | kubectl apply --server-side -f -
  kubectl wait --for=condition=Ready workloadclass --all --timeout=300s || { kubectl get workloadclass -o wide; exit 1; }
}

requests() {
  local job
  say "sending ${RATE:-4} chat requests a second for ${SECONDS_OF_LOAD:-30} s through Envoy, from a pod"
  job=$(tagged hack/kind/load.yaml | sed "s/=RATE/=${RATE:-4}/; s/=SECONDS/=${SECONDS_OF_LOAD:-30}/" | kubectl create -f - -o name)
  kubectl -n $NAMESPACE wait --for=condition=Ready pod -l "job-name=${job#job.batch/}" --timeout=60s > /dev/null
  kubectl -n $NAMESPACE logs --follow "$job"
  kubectl -n $NAMESPACE wait --for=condition=Complete "$job" --timeout=30s > /dev/null || { say "requests were lost"; exit 3; }
}

look() {
  kubectl get fleet,gpool,smodel,wclass,fplan
  kubectl get pods -A -o wide -l app.kubernetes.io/name=argosy
  kubectl get pods -o wide
  cat << TEXT

Look around (all of it took $SECONDS s):
  kubectl get wclass -w                   # rate, replicas, SLO attainment
  .venv/bin/argosy doctor                 # after \`make setup\`: what is wrong; also: top, routes, plans
  kubectl describe fleetplan              # each decision with its reasons
  kubectl -n $NAMESPACE logs -f -l app.kubernetes.io/component=operator    # one line per decision
  kubectl -n $NAMESPACE port-forward service/argosy-gateway 8080:80        # then http://127.0.0.1:8080/v1/chat/completions
  kubectl patch gpool h100 --type=merge -p '{"spec":{"priceUsdPerHour":2}}'  # and watch chat move
  .venv/bin/argosy down --all && .venv/bin/argosy sim demo --kubeconfig ~/.kube/config   # the demo's story, with objects of its own
  make kind-down                          # removes it all
TEXT
}

tools() {
  need docker "install Docker"
  docker info > /dev/null 2>&1 || { echo "Docker's daemon does not answer: start it, or see \`docker info\`" >&2; exit 2; }
  need kind "go install sigs.k8s.io/kind@v0.33.0"
  need kubectl "install kubectl 1.31 or newer"
}
up() {
  tools
  type -P helm > /dev/null || [ -n "${HELM:-}" ] || [ -x .venv/bin/python ] || need helm "install helm 4, or let \`make setup\` build it"
  cluster; images; nodes; install; fleet; requests; look
}
down() {
  CLUSTER=$(current) || { CLUSTER=${KIND_CLUSTER:-argosy}; kind get clusters 2> /dev/null | grep -qx "$CLUSTER" || { say "there is no kind cluster $CLUSTER"; return; }; }
  if [ "$(kubectl --context "kind-$CLUSTER" get nodes -l $CREATED=true -o name | wc -l)" -gt 0 ]; then
    kind delete cluster --name "$CLUSTER"
  else
    say "the cluster $CLUSTER was there before: Argosy is taken out of it, once its replicas and Envoys have finished"
    uninstall
  fi
  say "Docker keeps the images, so that they are built sooner next time: docker image rm argosy-{operator,simulator,envoy}:$TAG"
}

only_cluster() {
  tools; cluster; images; nodes
  say "the cluster $CLUSTER is up; Argosy is not in it"
}

case ${1:-up} in
  up | down | fleet) ${1:-up} ;;
  cluster) only_cluster ;;
  *) echo "usage: hack/kind.sh up | cluster | fleet | down" >&2; exit 2 ;;
esac
