#!/bin/sh
# Installs what the locks name: /build builds Argosy, /opt/argosy becomes the image. Needs /wheelhouse and /locks.
set -eu
index=""
if ls /wheelhouse/*.whl > /dev/null 2>&1; then index="--no-index --find-links /wheelhouse"; fi
python3 -m venv /build
python3 -m venv --without-pip /opt/argosy
pip() { /build/bin/python -m pip --disable-pip-version-check --quiet --no-cache-dir "$@"; }
# shellcheck disable=SC2086
pip install $index --require-hashes -r /locks/build.lock.txt
# shellcheck disable=SC2086
pip --python /opt/argosy/bin/python install $index --only-binary :all: --require-hashes -r /locks/operator.lock.txt
# Tests that libraries ship are a tenth of the image.
find /opt/argosy/lib -type d -name tests -prune -exec rm -rf {} +
