"""`python on_two_nodes.py COMMAND...`: starts a command twice, as `srun` would on two machines, and waits for both."""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    started = [subprocess.Popen(sys.argv[1:]) for _ in range(2)]
    sys.exit(max(abs(process.wait()) for process in started))
