"""RAM that this process can still get, and why what takes more must not start."""

from __future__ import annotations

from pathlib import Path

GIB = 2**30
MEMINFO = Path("/proc/meminfo")
LIMITS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
          ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
           "/sys/fs/cgroup/memory/memory.stat"))
"""Files with the most that a container may use, with what it uses, and with what that is, by version of Linux's control
groups."""
CACHED = ("inactive_file ", "active_file ")
"""Lines of the last with files that the system holds in memory as long as nobody needs it."""


def free_ram() -> int | None:
    """Bytes of RAM that are free, or that the system can free at once; None where that is not known."""
    free = _available()
    for limit, used, stat in LIMITS:
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text()) + _cached(Path(stat))
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
        free = left if free is None else min(free, left)
    return free


def _cached(stat: Path) -> int:
    return sum(int(line.split()[1]) for line in stat.read_text().splitlines() if line.startswith(CACHED))


def _available() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    except (OSError, StopIteration, ValueError, IndexError):  # another system than Linux
        pass
    try:
        import psutil  # the host requires it
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def refuse_ram(needed: int, what: str, remedy: str) -> str:
    """Why `needed` bytes must not be taken; "" if as many are free, or if it is not known what is free.

    Args:
        what: what takes it, as the beginning of a sentence.
        remedy: what to do about it, as the end of one.
    """
    free = free_ram()
    if free is None or needed <= free:
        return ""
    return (f"{what} about {needed / GIB:.1f} GiB of RAM, and {max(free, 0) / GIB:.1f} GiB are free. Close other "
            f"programs, {remedy}.")
