"""Importable by worker processes under its own name, like any package outside the harness."""
