"""Kills each work at every call by which it changes files, and refuses each of these calls, and counts what was lost.

The long form of tests/faults/test_interruptions.py, by hand:

    python -m lora_bootstrap.bench.interruptions [--most 400]
"""

from __future__ import annotations

import argparse
import collections
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..tests.helpers.interrupted_works import SLOW_WORKS, WORKS
from ..tests.helpers.interruptions import ERRORS, HALF, KILL, Fault, Trial, Trials, Work
from .report import write_result

NOTE = """
Each work runs in a process of its own, in a folder of its own. *killed*: before a call, and half-way through each
write. *refused*: the call gets ENOSPC, EIO, EACCES, EROFS or EDQUOT, once or for ever from there on. Wrong is: a file
of before, or one of the user's, that is lost; half a file under a final name; an error that is not one line for the
user; a work that, run again, does not end with the files of an undisturbed one; a temporary file that stays.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=400, help="most faults of each kind and work")
    arguments = parser.parse_args()
    rows = []
    for work in (*WORKS, *SLOW_WORKS):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(work, Path(folder), arguments.most if work in WORKS else arguments.most // 8))
        print(rows[-1], flush=True)
    rows.append({"work": "all"} | {key: sum(row[key] for row in rows) for key in rows[0] if key != "work"})
    print(write_result("interruptions", "Works that are killed or refused", rows, NOTE).read_text())


def measure(work: Work, folder: Path, most: int) -> dict[str, Any]:
    trials = Trials(work, folder)
    rng, calls = random.Random(work.name), len(trials.calls)
    kills = _sample([Fault(at, how) for at in range(calls) for how in (KILL, HALF)], most, rng)
    errors = _sample([Fault(at, error=error, lasting=lasting) for at in range(calls) for error in ERRORS
                      for lasting in (False, True)], most, rng)
    tried = [trials.attempt(fault) for fault in (*kills, *errors)]
    for line in _lines(tried):
        print(f"  {work.name}: {line}", flush=True)
    ends = collections.Counter(trial.outcome for trial in tried)
    return {"work": work.name, "calls": calls, "killed": ends["killed"], "errors": len(errors),
            "refused in one line": ends["refused"], "raw errors": ends["failed"],
            "lost": _count(tried, "lost:"), "half files": _count(tried, "half a file:"),
            "other ends": _count(tried, "not "), "left over": _count(tried, "left over:")}


def _sample(faults: Sequence[Fault], most: int, rng: random.Random) -> Sequence[Fault]:
    return faults if len(faults) <= most else rng.sample(faults, most)


def _lines(tried: Sequence[Trial]) -> Iterator[str]:
    return (f"{trial.fault} ({trial.call}): {line}" for trial in tried for line in trial.wrong)


def _count(tried: Sequence[Trial], start: str) -> int:
    """In how many trials something of that kind was wrong."""
    return sum(any(line.startswith(start) for line in trial.wrong) for trial in tried)


if __name__ == "__main__":
    main()
