#!/bin/sh
# Installs Argosy from /src into /opt/argosy and its simulator into /opt/simulator, compiles the engine's simulation
# and writes the bill of materials. What is new in /opt/argosy is copied below /code.
set -eu
pip() { /build/bin/python -m pip --disable-pip-version-check --quiet --no-cache-dir "$@"; }
pip wheel --no-deps --no-build-isolation --wheel-dir /wheel /src
pip --python /opt/argosy/bin/python install --no-deps --no-index /wheel/argosy-*.whl
site=$(/opt/argosy/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p /opt/simulator /code
mv "$site/argosy_sim" /opt/simulator/
NUMBA_CACHE_DIR=/opt/argosy/numba /opt/argosy/bin/python -c 'from argosy.engine import twin; twin.warm_up()'
cp /tools/shipped_numba_cache.py "$site/"
/opt/argosy/bin/python /tools/sbom.py > /opt/argosy/sbom.cdx.json
cp --archive --parents "$site/argosy" "$site"/argosy-*.dist-info "$site/shipped_numba_cache.py" /opt/argosy/bin/argosy \
  /opt/argosy/numba /opt/argosy/sbom.cdx.json /code
