"""What the pack costs a server and a command line: its start, its routes, sheets and thumbnails of sweeps, a mistake.

    python -m lora_bootstrap.bench.server [--lines 50000] [--cells 1000] [--route-cells 10000] [--rounds 3]
        [--sheet-rounds 1]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACK = Path(__file__).parents[1]
SIDE, DISTINCT, NEW_LINES = 512, 10, 10
NOTES = """
Medians of {rounds} rounds ({sheet_rounds} for sheets and thumbnails), the two ways in turns; *limit*: the most seconds
that *now* may take on a quiet machine, *ratio*: *the other way* divided by *now*. **{load}**

- *start*: with peft and kornia, as it was once. Both inside {host}, when torch, comfy and its server are there, in
  seconds of the processor, which other processes disturb less.
- *a mistake*: `audit --dataset /nonexistent`, after the import of torch, as it was once.
- *run route*: all {lines:,} lines are read, instead of {new} new ones.
- *sheets*: from the PNGs of {side} px, instead of their small copies, and saved with zlib's level 4. Most of what is
  left is the saving.
- *thumbnails*: {cells:,} are made from the PNGs, in a process that has none in memory.
- *saving a cell*: the drawing waits for the PNG, instead of only handing the image to the thread that writes it.
"""
START = """
import json, os, sys, time
sys.path.insert(0, {inside!r})
from start import load_pack, start_host
start_host({host!r})
import asyncio, execution, nodes, server, comfy_api.latest
server.PromptServer(asyncio.new_event_loop())
load_pack()
begin = time.process_time()
if {before}:
    import kornia, peft
import lora_bootstrap.nodes.extension
print(json.dumps(time.process_time() - begin))
"""
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--route-cells", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sheet-rounds", type=int, default=1, help="of the sheets and the thumbnails, which take long")
    options = parser.parse_args()
    sys.path.insert(0, str(PACK / "tests" / "helpers" / "comfy_stub"))  # before the pack's own folder `nodes`
    from ..tests.helpers.hosts import newest
    from .report import write_result

    host = next(iter(newest()), None)
    with tempfile.TemporaryDirectory() as folder:
        rows = [*(start_rows(host, options.rounds) if host else []), *mistake_rows(options.rounds),
                *run_rows(Path(folder), options.lines, options.rounds),
                *route_rows(Path(folder), options.route_cells, options.rounds),
                *sweep_rows(Path(folder), options.cells, options.rounds, options.sheet_rounds)]
    load = os.getloadavg()[0]
    busy = (f"The machine was crowded: {load:.1f} processes for {os.cpu_count()} cores, so that only ratios count."
            if load > 1.5 else f"The machine was quiet ({load:.1f} processes).")
    notes = NOTES.format(rounds=options.rounds, sheet_rounds=options.sheet_rounds, load=busy,
                         host=host.name if host else "ComfyUI (not found)", lines=options.lines,
                         new=NEW_LINES, side=SIDE, cells=options.cells)
    print(write_result("server", "The server's start, routes and sheets, and a mistake", rows, notes).read_text())


def in_turns(rounds: int, now: Callable[[], float], other: Callable[[], float] | None = None) -> dict[str, Any]:
    """The columns of a row from two ways, each of which returns its seconds."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for way, seconds in zip((now, other), found, strict=True):
            if way:
                seconds.append(way())
    mine, theirs = (statistics.median(seconds) if seconds else None for seconds in found)
    return {"now s": mine, "the other way s": "-" if theirs is None else theirs,
            "ratio": "-" if theirs is None or not mine else theirs / mine}


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def row(what: str, limit: float, figures: dict[str, Any]) -> Row:
    return {"what": what, **figures, "limit s": limit}


# -- processes ---------------------------------------------------------------------------------------------------------


def start_rows(host: Any, rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as compiled:  # as in a pack that has been started before
        env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH",
                                                                                 "PYTHONDONTWRITEBYTECODE")}
        env |= {"PYTHONPYCACHEPREFIX": compiled}

        def start(before: bool) -> float:
            code = START.format(inside=str(PACK / "tests/comfyui/inside"), host=str(host.path), before=before)
            done = subprocess.run([host.python, "-c", code], cwd=host.path, env=env, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, check=True)
            return float(json.loads(done.stdout.strip().splitlines()[-1]))

        start(before=True)
        return [row(f"start of the pack in {host.name}", 0.4,
                    in_turns(rounds, lambda: start(False), lambda: start(True)))]


def mistake_rows(rounds: int) -> list[Row]:
    def process(*words: str) -> float:
        return timed(lambda: subprocess.run([sys.executable, *words], cwd=PACK.parent, capture_output=True,
                                            check=False))

    mistake = "from lora_bootstrap.trainer.cli.main import main; main(['audit', '--dataset', '/nonexistent'])"
    return [row("a mistake on the command line", 0.5,
                in_turns(rounds, lambda: process("-c", mistake), lambda: process("-c", f"import torch; {mistake}")))]


# -- routes ------------------------------------------------------------------------------------------------------------


def run_rows(folder: Path, lines: int, rounds: int) -> list[Row]:
    from ..host.routes.views.run_view import run_status
    from ..host.session import begin_session
    from ..trainer.training.config import TrainConfig
    from ..trainer.training.runs import open_run

    run, written = open_run(folder / "loras", TrainConfig(name="long", steps=lines), "k"), 0

    def write(count: int) -> None:
        nonlocal written
        with open(run.metrics_path, "a", encoding="utf-8") as file:
            for step in range(written + 1, written + count + 1):
                file.write(json.dumps({"step": step, "loss": 0.1 + 1 / step, "learning_rate": 1e-4, "grad_norm": 0.5,
                                       "seconds": 0.25}) + "\n")
        written += count

    def ask() -> float:
        return timed(lambda: json.dumps(run_status(folder / "loras", "long")))

    def ask_again() -> float:
        write(NEW_LINES)
        return ask()

    def ask_first() -> float:
        begin_session()
        return ask()

    write(lines)
    ask()
    return [row(f"run route, {lines:,} lines", 0.1, in_turns(rounds, ask_again, ask_first))]


def route_rows(folder: Path, count: int, rounds: int) -> list[Row]:
    import folder_paths

    from ..host.routes.views import sweep_view

    folder_paths.base = folder
    make_sweep(folder, "many", count, whole=False)
    return [row(f"{name} of a sweep of {count:,} cells", limit,
                in_turns(rounds, lambda work=work: timed(lambda: json.dumps(work()))))
            for name, limit, work in (("sweep route", 3.0, lambda: sweep_view.sweep_view("many")),
                                      ("summary route", 1.0, lambda: sweep_view.summary("many")),
                                      ("archive route", 0.5, sweep_view.archive))]


# -- sweeps ------------------------------------------------------------------------------------------------------------


def sweep_rows(folder: Path, count: int, rounds: int, sheet_rounds: int) -> list[Row]:
    from ..host.routes.views import sweep_view
    from ..trainer.pictures import small_copies
    from ..trainer.pictures.sheet import FORMATS
    from ..trainer.pictures.thumbnails import thumbnail
    from ..trainer.sweeps.sheets import write_sheets

    sweep = make_sweep(folder, "sheets", count, whole=True)
    copies, png = small_copies.small_copy, FORMATS["png"]

    def from_images(work: Callable[[], object]) -> float:
        thumbnail.cache_clear()
        small_copies.small_copy = lambda picture: None
        FORMATS["png"] = {"compress_level": 4}
        try:
            return timed(work)
        finally:
            small_copies.small_copy, FORMATS["png"] = copies, png

    def from_copies(work: Callable[[], object]) -> float:
        thumbnail.cache_clear()
        return timed(work)

    def thumbnails() -> None:
        for cell in sweep.cells:
            sweep_view.cell_image("sheets", cell.key, True)

    return [row(f"sheets of {count:,} cells", 5.0, in_turns(
                sheet_rounds, lambda: from_copies(lambda: write_sheets(sweep)),
                lambda: from_images(lambda: write_sheets(sweep)))),
            row(f"{count:,} thumbnails after a restart", 1.0, in_turns(
                sheet_rounds, lambda: from_copies(thumbnails), lambda: from_images(thumbnails))),
            row("saving a cell of 512 px", 0.01, saving(folder, rounds))]


def saving(folder: Path, rounds: int) -> dict[str, Any]:
    from ..trainer.sweeps.cells import Sweep, seed_axis
    from ..trainer.sweeps.writer import CellWriter

    sweep, image = Sweep(folder / "saving", "", (seed_axis(range(rounds)),)), drawing(0)
    cells = iter(sweep.cells * 2)
    with CellWriter(sweep) as writer:
        def beside() -> float:
            taken = timed(lambda: writer.save(next(cells), image))
            writer.flush()
            return taken

        return in_turns(rounds, beside, lambda: timed(lambda: sweep.save(next(cells), image)))


def make_sweep(folder: Path, name: str, count: int, whole: bool) -> Any:
    """A sweep on disk. If it is not `whole`, its images are empty files, which no route but the cell's reads."""
    from ..trainer.pictures.small_copies import small_copy
    from ..trainer.sweeps.cells import Sweep, prompt_axis, seed_axis

    axes = (prompt_axis(f"prompt {number}" for number in range(10)), seed_axis(range(count // 10)))
    sweep = Sweep(folder / "output" / "sweeps" / name, name, axes, {"lora": "a", "strength": 1.0, "steps": 20})
    sweep.write()
    sweep.cells_folder.mkdir(exist_ok=True)
    for number, cell in enumerate(sweep.cells):
        first = sweep.cells[number % DISTINCT]
        if whole and number < DISTINCT:
            sweep.save(cell, drawing(number))
        elif whole:
            shutil.copy2(sweep.picture(first), sweep.picture(cell))
            copy = small_copy(sweep.picture(first))
            shutil.copy2(copy, copy.with_name(f"{cell.key}.jpg"))
        else:
            sweep.picture(cell).touch()
        sweep.record(cell).write_text(json.dumps(dict(cell.facts)))
    return sweep


def drawing(seed: int) -> Any:
    """An image with areas, edges and some noise, whose PNG is as large as a drawn image's."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (12, 12, 3), dtype=np.uint8)).resize((SIDE, SIDE))
    noise = random.integers(-3, 4, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(coarse).astype(int) + noise).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
