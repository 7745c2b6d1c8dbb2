# The worker's image, for x86-64: the locks hold wheels of that platform alone.
#
#     docker build --tag mirrorstream .                                                          vLLM on an NVIDIA GPU
#     docker build --tag mirrorstream:cpu --build-arg REQUIREMENTS=cpu.txt .                     vLLM on the CPU
#     docker build --tag mirrorstream:server --build-arg REQUIREMENTS=server.txt --build-arg SYSTEM_PACKAGES= .   vLLM elsewhere
#     docker build --tag mirrorstream:run --build-arg REQUIREMENTS=run.txt --build-arg SYSTEM_PACKAGES= .   no LLM
#
# Pin the base by digest in production: --build-arg BASE=python:3.12-slim@sha256:...
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ARG REQUIREMENTS=gpu.txt
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# The worker lives in an environment of its own, without pip, at the path it has in the image.
RUN python -m venv --without-pip /opt/mirrorstream
# First the locked dependencies: this layer changes only with the lock.
COPY requirements/ requirements/
RUN pip --python /opt/mirrorstream/bin/python install --require-hashes --no-deps \
    --requirement "requirements/${REQUIREMENTS}"
COPY pyproject.toml README.md LICENSE ./
COPY schemas/ schemas/
COPY worker/ worker/
RUN pip --python /opt/mirrorstream/bin/python install --no-deps .

FROM ${BASE}
ARG BASE
ARG REQUIREMENTS=gpu.txt
ARG VERSION=0.1.0
ARG REVISION=unknown
# Triton and torch.compile build small C and C++ parts at start; without an LLM none of this is needed.
ARG SYSTEM_PACKAGES="g++ libgomp1 libnuma1"
LABEL org.opencontainers.image.title="mirrorstream" \
      org.opencontainers.image.description="Impressions in, simulated user responses with rationales out, exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}" \
      mirrorstream.requirements="${REQUIREMENTS}"
RUN if [ -n "${SYSTEM_PACKAGES}" ]; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends ${SYSTEM_PACKAGES} \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && groupadd --gid 10001 mirrorstream \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin mirrorstream
COPY --from=build /opt/mirrorstream /opt/mirrorstream
# LOGNAME spares a user id without a name, as some clusters give, the failing look-up. Which GPUs are seen is the
# cluster's to say, so NVIDIA_VISIBLE_DEVICES stays unset.
ENV PATH=/opt/mirrorstream/bin:${PATH} \
    HOME=/home/mirrorstream \
    LOGNAME=mirrorstream \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1
WORKDIR /home/mirrorstream
USER 10001:10001
# Proves that the locks fitted this platform: elsewhere their markers leave every dependency out, in silence.
RUN ["mirrorstream", "--help"]
EXPOSE 8080
ENTRYPOINT ["mirrorstream"]
CMD ["run"]
