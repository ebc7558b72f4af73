"""What decides the cells of a sweep, for the commands that draw one and the one that packs it for another machine."""

from __future__ import annotations

from ...sweeps.prompt_sets import AS_WRITTEN, SETS
from .options import Options, add_sampler_options, add_size_options


def add_checkpoints_option(command: Options) -> None:
    command.add_argument("--checkpoints", default="all", metavar="WHICH",
                         help="checkpoints of the run: all, with averages of them; last 5, every 2, or steps: 400, "
                              "800-1600 (+400) (%(default)s)")


def add_cell_options(command: Options, strengths: list[float]) -> None:
    """What decides the cells of a sweep, but for its LoRAs and its base."""
    command.add_argument("--prompt", action="append", default=[], help="prompt to draw; may be repeated. Brackets are "
                         "text, not weights")
    command.add_argument("--prompt-set", default=AS_WRITTEN, choices=SETS, metavar="SET",
                         help=f"ready-made lines to append to each prompt: {', '.join(SETS)} (%(default)s). 'from "
                         "captions' draws captions that the LoRA was trained on, and needs no --prompt")
    command.add_argument("--strengths", type=float, nargs="+", default=strengths, metavar="X",
                         help=f"strengths to compare ({' '.join(f'{value:g}' for value in strengths)})")
    command.add_argument("--seeds", default="", metavar="SEEDS", help="seeds, such as 1, 2 or 1-4; default: --seed")
    command.add_argument("--without", action="store_true", help="also draw each prompt and seed without the LoRA, to "
                         "compare with and to score burn and diversity")
    add_size_options(command)
    add_sampler_options(command)
