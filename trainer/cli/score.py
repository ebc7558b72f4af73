"""`lora-bootstrap score`: recommend a checkpoint and strength from a sweep, and say why."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..captions.kinds import KINDS
from .terminal.console import Console
from .terminal.options import add_likeness_option


def add_score_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("sweep", type=Path, help="a sweep's folder, such as output/sweeps/my_character-checkpoints")
    command.add_argument("--dataset", type=Path, metavar="FOLDER", help="images that the LoRA was trained on")
    command.add_argument("--run", type=Path, metavar="FOLDER",
                         help="run that was swept, for its validation loss and its learning rate")
    command.add_argument("--kind", default="", choices=["", *KINDS], metavar="KIND",
                         help=f"what the LoRA learnt: {', '.join(KINDS)}; default: as it was trained")
    add_likeness_option(command)


def handle_score(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..datasets.dataset import load_folder
    from ..measures.eyes import open_eye
    from ..sweeps.cells import Sweep
    from ..sweeps.log import SCORES, add_to_log
    from ..sweeps.score import ScoreSettings, score_sweep, validation_of
    from ..sweeps.score_table import report, write_scores
    from ..training.runs import read_run

    plan = Sweep.load(options.sweep)
    facts = plan.choices("checkpoint")[0].facts
    run = read_run(options.run) if options.run else None
    events = score_sweep(
        plan, eye=open_eye(facts["family"], options.likeness or None),
        training=load_folder(options.dataset) if options.dataset else None, trigger=facts["trigger"],
        validation=validation_of(run) if run else None, rate=run.config.optimizer.learning_rate if run else None,
        settings=ScoreSettings(kind=options.kind or (facts["kind"] if facts["kind"] in KINDS else "character")))
    scores = console.follow(events).scores
    paths = write_scores(plan, scores)
    if note := add_to_log(plan, paths["png"], SCORES, scores.why):
        console.say(note)
    console.say(f"\n{report(scores)}\n\ntable  {paths['png']}\ncsv    {paths['csv']}\njson   {paths['json']}")
    return {**scores.to_dict(), **paths}
