# The README's install for NVIDIA GPUs: docker build -f docker/gpu.Dockerfile -t codepmp-harness:gpu .
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
# Dependencies are a layer of their own, made anew only when these files change.
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY harness/__init__.py harness/
# The package index's torch brings its CUDA libraries along; the host brings only its driver (NVIDIA Container Toolkit).
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir -c constraints.txt -e .

FROM python:3.11-slim-bookworm
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
