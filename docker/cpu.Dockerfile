# The README's install on the CPU: docker build -f docker/cpu.Dockerfile -t codepmp-harness .
FROM python:3.11-slim-bookworm AS build
# One dependency comes as C source. Whichever compiler Debian has will do.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# Dependencies are a layer of their own, made anew only when these files change.
COPY LICENSE README.md constraints.txt pyproject.toml ./
COPY harness/__init__.py harness/
# The extra index holds the same torch without CUDA, a tenth of the size.
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        -c constraints.txt -e .

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 harness && install --directory --owner=harness /app/workdir
WORKDIR /app
COPY --from=build /app /app
COPY harness harness
COPY recipes recipes
USER 1000
VOLUME /app/workdir
ENTRYPOINT ["/app/.venv/bin/harness"]
CMD ["run", "recipes/quickstart.yaml"]
