# An MLflow server that speaks PostgreSQL: docker build -f docker/mlflow.Dockerfile -t codepmp-mlflow .
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
COPY constraints.txt ./
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir -c constraints.txt mlflow psycopg2-binary==2.9.13

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 mlflow && install --directory --owner=mlflow /artifacts
COPY --from=build /app /app
USER 1000
VOLUME /artifacts
EXPOSE 5000
HEALTHCHECK --interval=5s --timeout=5s --retries=24 \
    CMD ["/app/.venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
# Where the database is comes from MLFLOW_BACKEND_STORE_URI, so that no password stands in a command line.
ENTRYPOINT ["/app/.venv/bin/mlflow", "server"]
CMD ["--host=0.0.0.0", "--port=5000", "--artifacts-destination=/artifacts", "--allowed-hosts=mlflow:5000,localhost:5000,127.0.0.1:5000"]
