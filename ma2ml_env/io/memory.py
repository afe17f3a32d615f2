"""How much memory the machine has left."""

import math
from pathlib import Path

MACHINE = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def available() -> float:
    """Bytes that new processes may take together: what Linux counts as available, and no more than a container is left.

    At least one; infinity where nobody says, as on other systems.
    """
    return max(1.0, min(_machine(), _container()))


def _machine() -> float:
    try:
        rows = dict(line.split(":", 1) for line in MACHINE.read_text().splitlines())
        return 1024.0 * int(rows["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        return math.inf


def _container() -> float:
    """Of a control group of version 2. Files that it has read count as used, and are given up when memory is wanted."""
    try:
        limit, used = (int((GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        files = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())["inactive_file"]
        return float(limit - used + int(files))
    except (OSError, ValueError, KeyError):  # no such group, or one without a limit, which says "max"
        return math.inf
