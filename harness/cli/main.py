"""The `harness` command. Only this room prints, exits or reads the environment.

This module imports nothing heavy: worker processes import it too, as their `__main__`.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143


def main() -> None:
    """Entry point: runs a command and turns errors into one clear message and the documented exit code.

    SIGTERM, by which schedulers and containers end a process, ends a command as Ctrl-C does: what is at work saves
    where it stands and says how to go on.
    """
    terminated = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        raise KeyboardInterrupt

    try:
        signal.signal(signal.SIGTERM, end)
        from harness.cli.run_command import run_command

        code = run_command(sys.argv[1:])
    except KeyboardInterrupt:  # before the command could begin, or while it ended
        print("interrupted", file=sys.stderr)  # noqa: T201  the console may not be there yet
        code = INTERRUPTED
    sys.exit(TERMINATED if terminated and code == INTERRUPTED else code)


if __name__ == "__main__":
    main()
