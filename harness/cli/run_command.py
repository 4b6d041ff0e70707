"""Runs a command; what becomes of errors."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cli.app import app
from harness.cli.console import errors, print_anything
from harness.cli.path_errors import path_error
from harness.errors import HarnessError, ProblemList


def run_command(arguments: Sequence[str]) -> int:
    """Run a command and give its exit code; every error the user can meet is printed, none is a traceback."""
    print_anything()
    try:
        app(list(arguments))
    except SystemExit as leaving:  # typer's way to end: 0, a command's code, 2 for wrong arguments, 130 for Ctrl-C
        if isinstance(getattr(leaving.__context__, "__cause__", None), KeyboardInterrupt):
            errors().print("interrupted")
        return leaving.code if isinstance(leaving.code, int) else 0
    except HarnessError as error:
        for problem in error.problems if isinstance(error, ProblemList) else (error,):
            errors().print(problem.one_line())
        return error.exit_code
    except OSError as error:
        told = path_error(error)
        if told is None:
            raise
        errors().print(told.one_line())
        return told.exit_code
    return 0
