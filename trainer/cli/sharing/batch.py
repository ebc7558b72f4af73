"""`lora-bootstrap batch`: many characters at once, each from a TOML file, on one machine or on a cluster."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...cast.character import Character, read_cast
from ...common.checks import check
from ...common.errors import UserError
from ...common.names import checked_name
from ..terminal.console import Console
from ..terminal.options import add_output_option

OWN = ""
"""What a price without a card's name is of: a worker, wherever it runs."""


def add_batch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("characters", nargs="+", metavar="FILE", help="a .toml file for each character, or folders of "
                         "them; * stands for any letters")
    command.add_argument("--cast", default="cast", metavar="NAME", help="name of the report's folder, in "
                         "output/casts (%(default)s)")
    add_output_option(command)
    command.add_argument("--plan", action="store_true", help="show time and cost, and make nothing")
    command.add_argument("--price", action="append", default=[], metavar="[CARD=]PRICE", help="price of an hour of a "
                         "worker, or with --plan of a card, such as 'RTX 4090=0.69'; may be repeated")
    command.add_argument("--workers", type=int, default=0, metavar="N", help="characters that are worked on at a time; "
                         "default: one for each GPU, or one")
    command.add_argument("--gpus", type=float, metavar="X", help="GPUs of a worker; 0.5 puts two workers on one; "
                         "default: 1 where there are GPUs, else 0")
    command.add_argument("--threads", type=int, default=1, metavar="N", help="CPU cores of a worker (%(default)s)")
    command.add_argument("--address", default="", metavar="HOST:PORT", help="a Ray cluster, or auto for one that runs "
                         "here; all its machines need the output folder under the same path. Default: this machine")
    command.add_argument("--retries", type=int, default=2, metavar="N", help="how often a task is begun again when it "
                         "fails or its worker dies (%(default)s)")


def check_batch(options: argparse.Namespace) -> None:
    checked_name(options.cast, "--cast")
    check(0 <= options.workers <= 1000, "--workers", options.workers, "from 0 to 1000")
    check(options.gpus is None or 0 <= options.gpus <= 1 or options.gpus in range(65), "--gpus", options.gpus,
          "from 0 to 1, or a whole number up to 64")
    check(1 <= options.threads <= 1024, "--threads", options.threads, "from 1 to 1024")
    check(0 <= options.retries <= 100, "--retries", options.retries, "from 0 to 100")
    check(options.plan or not any("=" in price for price in options.price), "--price", options.price,
          "one number without --plan: what an hour of a worker costs")
    parse_prices(options.price)
    options.cast_read = read_cast(list_files(options.characters), *([find_planned_base] if options.plan else []))


def find_planned_base(base: str) -> None:
    """Raises UserError if a training on that base cannot be counted."""
    from ...memory.bases import find_base

    find_base(base)


def handle_batch(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    cast: list[Character] = options.cast_read
    prices = parse_prices(options.price)
    return _plan(cast, prices, options, console) if options.plan else _make(cast, prices, options, console)


def list_files(words: Iterable[str]) -> list[Path]:
    """The files that the words name, each once: a shell may leave * to the program, and a folder stands for its .toml
    files. Raises UserError for a word that names none."""
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            named = sorted(path.glob("*.toml"))
        else:
            named = [path] if path.is_file() else sorted(Path(path.anchor or ".").glob(
                str(path.relative_to(path.anchor)) if path.anchor else word))
        if not named:
            raise UserError(f"{word} is neither a character's file nor a folder of them; give .toml files, or such a "
                            "folder.")
        found |= dict.fromkeys(named)
    return list(found)


def parse_prices(words: Sequence[str]) -> dict[str, float]:
    """Price of an hour by card; OWN for one without a card. Raises UserError for what is not a price."""
    prices = {}
    for word in words:
        card, _, number = word.rpartition("=")
        try:
            price = float(number)
        except ValueError:
            price = math.nan
        check(0 <= price < 1e6, "--price", word, "a number from 0, or CARD=NUMBER such as 'RTX 4090=0.69'")
        prices[card.strip()] = price
    return prices


def _make(cast: list[Character], prices: dict[str, float], options: argparse.Namespace,
          console: Console) -> dict[str, Any]:
    from ...cast.batch import BatchFinished, run_batch
    from ...cast.ray_pool import RayPool, WorkerSettings, require_ray
    from ...cast.records import CastRecords

    require_ray()
    records = CastRecords(options.output, options.cast)
    settings = WorkerSettings(workers=options.workers, gpus=options.gpus, threads=options.threads,
                              address=options.address)
    with RayPool(options.output, settings) as pool:
        console.say(f"{len(cast)} characters, {pool.size} workers")
        last = console.follow(run_batch(cast, records, pool, retries=options.retries, price=prices.get(OWN),
                                        should_stop=console.asked_to_stop), _Lines(console))
    page = records.folder / "cast.html"
    console.say(f"report  {page}")
    if not isinstance(last, BatchFinished):
        return {"finished": False, "folder": records.folder, "report": page}
    console.say(last.report.summary)
    return {"finished": True, "folder": records.folder, "report": page, **last.report.counts}


class _Lines:
    """A line for each task that begins and ends."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, event: Any) -> None:
        from ...cast.batch import TaskEnded, TaskStarted
        from ..terminal.progress import clock

        if isinstance(event, TaskStarted):
            self.console.say(f"    worker {event.worker + 1}: {event.job.words}")
        elif isinstance(event, TaskEnded):
            how = f"{event.result.words}{', begun again' if event.again else ''}"
            self.console.say(f"    {event.job.words}: {how} ({clock(event.result.seconds)})")


def _plan(cast: list[Character], prices: dict[str, float], options: argparse.Namespace,
          console: Console) -> dict[str, Any]:
    from ...cast.plan import plan_cast
    from ...cast.records import CastRecords

    console.say("counting a training step of each base without its weights; the first time this takes minutes ...")
    plan = plan_cast(cast, prices, max(options.workers, 1), CastRecords(options.output, options.cast))
    for line in plan_lines(plan, max(options.workers, 1)):
        console.say(line)
    return asdict(plan)


def plan_lines(plan: Any, workers: int) -> Iterator[str]:
    """The time and cost table."""
    done = f" ({plan.left_out} are finished and not counted)" if plan.left_out else ""
    yield f"{plan.characters} characters{done}: {plan.steps:,} training steps, {plan.images:,} images"
    yield f"{'card':20}{'hours':>10}{f'with {workers} workers':>17}{'price an hour':>15}{'cost':>12}"
    for row in plan.cards:
        price = "" if row.price is None else f"{row.price:.2f}"
        cost = "" if row.cost is None else f"{row.cost:,.2f}"
        yield f"{row.card:20}{row.hours:>10.2f}{row.waiting:>15.2f} h{price:>15}{cost:>12}"
    if not plan.cards:
        yield "No card of the table holds every base with these settings."
    if plan.measured:
        hours, count = plan.measured
        yield f"Measured here: {hours * 60:.1f} minutes of a worker for a character, mean of {count} that are finished."
    yield "These are predictions; docs/memory.md says how well they do."
