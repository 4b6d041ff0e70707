# The README's install for NVIDIA GPUs, with every extra that a run may need: docker build -f docker/gpu.Dockerfile -t codepmp-harness:gpu .
FROM python:3.11-slim-bookworm AS compiler
# One dependency comes as C source, and Triton compiles as it runs. Whichever compiler Debian has will do.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

FROM compiler AS build
WORKDIR /app
# Dependencies are a layer of their own, made anew only when these files change.
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY harness/__init__.py harness/
# The package index's torch brings its CUDA libraries along; the host brings only its driver (NVIDIA Container Toolkit).
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir -c constraints.txt -e '.[hub,lm-eval,liger,vllm]'

FROM compiler
RUN useradd --create-home --uid 1000 harness && install --directory --owner=harness /app/workdir
WORKDIR /app
COPY --from=build /app /app
COPY harness harness
COPY recipes recipes
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
VOLUME /app/workdir
ENTRYPOINT ["/app/.venv/bin/harness"]
CMD ["run", "recipes/quickstart.yaml"]
