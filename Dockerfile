# syntax=docker/dockerfile:1
# Targets: runtime, every stage on the CPU.  docker build --target runtime -t dedpo:0.1.0 .
# Pin the base by digest where builds must repeat:  --build-arg BASE=python:3.11-slim@sha256:…
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
# PyTorch's CPU build; the default index would bring gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=all
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/dedpo
ENV PATH=/opt/dedpo/bin:$PATH
WORKDIR /source
COPY constraints.txt pyproject.toml ./
RUN pip install --extra-index-url "${TORCH_INDEX}" "$(grep '^torch==' constraints.txt)"
COPY README.md LICENSE ./
COPY src src
RUN pip install -c constraints.txt ".[${EXTRAS}]" && pip uninstall -y pip

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dedpo" \
      org.opencontainers.image.description="Debiased preference optimisation for image generators: the stages on the CPU" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/dedpo /opt/dedpo
COPY models /app/models
# Everything that is written goes to /tmp, so that the root may be read-only; a volume at /cache is used if DEDPO_CACHE
# and HF_HOME point into it.
ENV PATH=/opt/dedpo/bin:$PATH HOME=/tmp HF_HOME=/tmp/huggingface MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# A number, because Kubernetes cannot tell of a name that it is not root.
USER 10001:10001
CMD ["dedpo", "--help"]
