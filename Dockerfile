# The worker's images, for x86-64: the locks hold wheels of that platform alone.
#
#     docker build --target gpu --tag mirrorstream .            vLLM on an NVIDIA GPU (the default target)
#     docker build --target cpu --tag mirrorstream:cpu .        vLLM on the CPU
#     docker build --target server --tag mirrorstream:server .  vLLM elsewhere
#     docker build --target run --tag mirrorstream:run .        no LLM: trials, and the page of experiments
#
# Pin the base by digest in production: --build-arg BASE=python:3.12-slim@sha256:...
#
# What pip keeps is in a cache mount, and not in a layer:
# hadolint global ignore=DL3042
#
# A target has a lock of its own, so a change of another lock rebuilds nothing.  Everything that is installed is in a
# lock with its hash, what builds the package too, and the package itself is built and installed without an index.
ARG BASE=python:3.12-slim

FROM ${BASE} AS python
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# The worker lives in an environment of its own, without pip, at the path it has in the image.
RUN python -m venv --without-pip /opt/mirrorstream

FROM python AS package
COPY requirements/build.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --requirement requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas/ schemas/
COPY worker/ worker/
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python AS run-packages
COPY requirements/run.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/mirrorstream/bin/python install --require-hashes --no-deps --requirement requirements/run.txt
COPY --from=package /wheels/ /wheels/
RUN pip --python /opt/mirrorstream/bin/python install --no-index --no-deps /wheels/*.whl

FROM python AS server-packages
COPY requirements/server.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/mirrorstream/bin/python install --require-hashes --no-deps --requirement requirements/server.txt
COPY --from=package /wheels/ /wheels/
RUN pip --python /opt/mirrorstream/bin/python install --no-index --no-deps /wheels/*.whl

FROM python AS cpu-packages
COPY requirements/cpu.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/mirrorstream/bin/python install --require-hashes --no-deps --requirement requirements/cpu.txt
COPY --from=package /wheels/ /wheels/
RUN pip --python /opt/mirrorstream/bin/python install --no-index --no-deps /wheels/*.whl

FROM python AS gpu-packages
COPY requirements/gpu.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/mirrorstream/bin/python install --require-hashes --no-deps --requirement requirements/gpu.txt
COPY --from=package /wheels/ /wheels/
RUN pip --python /opt/mirrorstream/bin/python install --no-index --no-deps /wheels/*.whl

FROM ${BASE} AS base
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mirrorstream" \
      org.opencontainers.image.description="Impressions in, simulated user responses with rationales out, exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
RUN groupadd --gid 10001 mirrorstream \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin mirrorstream
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
EXPOSE 8080
ENTRYPOINT ["mirrorstream"]
CMD ["run"]

# Triton and torch.compile build small C and C++ parts at start; without an LLM in the process none of this is needed.
FROM base AS base-jit
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libgomp1 libnuma1 \
    && rm -rf /var/lib/apt/lists/*

# `--help` proves that the lock fitted this platform: elsewhere its markers leave every dependency out, in silence.
FROM base AS run
COPY --from=run-packages /opt/mirrorstream /opt/mirrorstream
USER 10001:10001
RUN ["mirrorstream", "--help"]

FROM base AS server
COPY --from=server-packages /opt/mirrorstream /opt/mirrorstream
USER 10001:10001
RUN ["mirrorstream", "--help"]

FROM base-jit AS cpu
COPY --from=cpu-packages /opt/mirrorstream /opt/mirrorstream
USER 10001:10001
RUN ["mirrorstream", "--help"]

FROM base-jit AS gpu
COPY --from=gpu-packages /opt/mirrorstream /opt/mirrorstream
USER 10001:10001
RUN ["mirrorstream", "--help"]
