"""Its runs begin where the finished run of the integration tests ended."""

from tests.integration.conftest import finished, shell

__all__ = ["finished", "shell"]
