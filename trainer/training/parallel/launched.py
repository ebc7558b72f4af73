"""What a launcher (`accelerate launch`, torchrun) says to each process that it starts; read without torch."""

from __future__ import annotations

import os


def count_launched() -> int:
    """The processes that were started to work together, this one included; 1 without a launcher. A job scheduler may
    set WORLD_SIZE too, but only a launcher says which GPU of the machine a process has."""
    count = os.environ.get("WORLD_SIZE", "")
    return int(count) if "LOCAL_RANK" in os.environ and count.isdecimal() else 1


def launched_rank() -> int:
    """The number of this process among them, from 0."""
    rank = os.environ.get("RANK", "")
    return int(rank) if count_launched() > 1 and rank.isdecimal() else 0
