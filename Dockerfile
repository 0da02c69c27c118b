# jaxnas with what any of its commands can need, on the CPU:
#   docker build -t jaxnas . && docker run --rm -v "$PWD/runs:/runs" jaxnas search
# For NVIDIA GPUs, on top of it: FROM jaxnas, USER root, RUN pip install 'jax[cuda13]'; docker run --gpus all.
FROM python:3.12-slim-bookworm

ENV JAXNAS_CACHE=/cache \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY jaxnas jaxnas
COPY kernels kernels
COPY spaces spaces
# hadolint ignore=DL3013
RUN pip install '.[all]' \
    && useradd --create-home --uid 1000 user \
    && mkdir /cache /runs \
    && chown 1000 /cache /runs

USER 1000
WORKDIR /
VOLUME ["/cache", "/runs"]
ENTRYPOINT ["jaxnas"]
CMD ["help"]
