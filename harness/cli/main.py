"""The `harness` command. Only this room prints, exits or reads the environment.

This module imports nothing heavy: worker processes import it too, as their `__main__`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: runs a command and turns errors into one clear message and the documented exit code."""
    from harness.cli.app import run_command

    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
