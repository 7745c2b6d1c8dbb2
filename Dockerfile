# The worker's images, for x86-64: the locks hold wheels of that platform alone.
#
#     docker build --target gpu --build-arg VLLM_IMAGE=... .        vLLM on an NVIDIA GPU (the default target)
#     docker build --target cpu --build-arg PYTHON_IMAGE=... .      vLLM on the CPU
#     docker build --target server --build-arg PYTHON_IMAGE=... .   vLLM elsewhere
#     docker build --target run --build-arg PYTHON_IMAGE=... .      no LLM: trials, and the page of experiments
#
# Every target starts from a base that is given by its digest (`gpu` from both); another is refused.  This prints it:
#
#     docker buildx imagetools inspect python:3.12-slim --format '{{.Manifest.Digest}}'
#
# What pip keeps is in a cache mount, and not in a layer:
# hadolint global ignore=DL3042
#
# A target has a lock of its own, so a change of another lock rebuilds nothing.  Everything that is installed is in a
# lock with its hash, what builds the package too, and the package itself is built and installed without an index.
ARG PYTHON_IMAGE=python:3.12-slim
# vLLM's own image, whose layers GPU nodes have already if they serve models.  Its version is the one of gpu.txt.
ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0

FROM ${PYTHON_IMAGE} AS python
ARG PYTHON_IMAGE
RUN case "${PYTHON_IMAGE}" in *@sha256:*) ;; *) \
    echo "PYTHON_IMAGE=${PYTHON_IMAGE}: want a digest, as in python:3.12-slim@sha256:...; see Dockerfile" >&2; exit 1;; esac
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

# Refuses before anything of that large image is fetched.
FROM python AS vllm-pinned
ARG VLLM_IMAGE
RUN case "${VLLM_IMAGE}" in *@sha256:*) touch /pinned;; *) \
    echo "VLLM_IMAGE=${VLLM_IMAGE}: want a digest, as in vllm/vllm-openai:v0.32.0@sha256:...; see Dockerfile" >&2; exit 1;; esac

# vLLM, torch and CUDA are the base's own; the environment sees them and has before them what the worker needs, in the
# versions that gpu.txt resolved together with that vLLM.  The last step asks whether they fit what the base really has.
FROM ${VLLM_IMAGE} AS gpu-packages
WORKDIR /build
RUN --mount=type=bind,from=vllm-pinned,source=/pinned,target=/pinned \
    python3 -m venv --system-site-packages --without-pip /opt/mirrorstream
COPY requirements/gpu-image.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/mirrorstream/bin/python install --ignore-installed --require-hashes --no-deps --requirement requirements/gpu-image.txt
COPY --from=package /wheels/ /wheels/
RUN python3 -m pip --python /opt/mirrorstream/bin/python install --no-index --no-deps /wheels/*.whl
# Other packages of the base may disagree among themselves, which is not ours to refuse.
# hadolint ignore=DL4006
RUN /opt/mirrorstream/bin/python -c "import importlib.metadata; importlib.metadata.version('vllm')" \
    && if /opt/mirrorstream/bin/python -m pip check | grep -E '^(mirrorstream|vllm) '; then exit 1; fi

FROM ${PYTHON_IMAGE} AS base
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mirrorstream" \
      org.opencontainers.image.description="Impressions in, simulated user responses with rationales out, exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
RUN groupadd --gid 10001 mirrorstream \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin mirrorstream
# LOGNAME spares a user id without a name, as some clusters give, the failing look-up.
ENV PATH=/opt/mirrorstream/bin:${PATH} \
    HOME=/home/mirrorstream \
    LOGNAME=mirrorstream \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1
WORKDIR /home/mirrorstream
EXPOSE 8080
ENTRYPOINT ["mirrorstream"]
CMD ["run"]

# What stays for compiling at run time: Triton and torch.compile build small C and C++ parts when the model is loaded,
# for the processor that they find there.  Without an LLM in the process none of this is needed.
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

# The base has the compilers that Triton, torch.compile and FlashInfer need for the GPU that they find: nvcc and g++.
FROM ${VLLM_IMAGE} AS gpu
ARG VLLM_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mirrorstream" \
      org.opencontainers.image.description="Impressions in, simulated user responses with rationales out, exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${VLLM_IMAGE}"
RUN groupadd --gid 10001 mirrorstream \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin mirrorstream
# Which GPUs are seen is the cluster's to say, so NVIDIA_VISIBLE_DEVICES stays unset.
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
COPY --from=gpu-packages /opt/mirrorstream /opt/mirrorstream
USER 10001:10001
RUN ["mirrorstream", "--help"]
