"""Previews of a LoRA that no sweep was drawn with: what its run drew while it was trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..pictures.images import open_image
from ..training.feed import derived_seed
from ..training.runs import Run
from .previews import Preview, describe_preview, save_png
from .source import Source
from .texts import fold_prompt

_FILE = re.compile(r"step(\d+)-(\d+)\.png")
"""Step and row of a preview, as the training loop names them."""


def write_run_previews(folder: Path, source: Source, name: str, digest: str, most: int,
                       secret: frozenset[str]) -> tuple[list[Preview], list[str]]:
    """Write what the run drew at the step of the released file, or else at the last one before it, as
    `previews/1.png`, ... Returns the previews, each with a remark of what it is, and notes.

    Args:
        name, digest: as in `write_previews`.
        secret: prompts that are left out, as `fold_prompt` has them.
    """
    step, found = _latest(source)
    if not found or not most or source.run is None:
        return [], ["It has no previews: give a sweep that was drawn with this LoRA."] if most else []
    written: list[Preview] = []
    other = "" if source.step in (None, step) else f", not at step {source.step}, which is released"
    notes = [f"The previews are what the run drew at step {step} of its training{other}, at strength 1. A sweep shows "
             "more: draw one with this LoRA."]
    for row, path in sorted(found.items())[:most]:
        facts = _facts(source, source.run, row)
        if fold_prompt(facts["prompt"]) in secret:
            facts = {**facts, "prompt": ""}
        try:
            image = open_image(path)
        except (UserError, OSError) as error:
            notes.append(f"A preview is left out: {error}")
            continue
        preview = describe_preview(facts, f"previews/{len(written) + 1}.png", image, name, digest)
        save_png(folder / preview.place, image, {"parameters": preview.parameters})
        written.append(replace(preview, drawn=f"drawn at step {step} of the training"))
    return written, notes


def _latest(source: Source) -> tuple[int, Mapping[int, Path]]:
    """The last step up to the file's own at which the run drew previews, and these by their row."""
    steps: dict[int, dict[int, Path]] = {}
    places = source.run.samples_folder.iterdir() if source.run and source.run.samples_folder.is_dir() else ()
    for path in places:
        if (match := _FILE.fullmatch(path.name)) and not path.is_symlink():
            steps.setdefault(int(match[1]), {})[int(match[2])] = path
    step = max((step for step in steps if source.step is None or step <= source.step), default=0)
    return step, steps.get(step, {})


def _facts(source: Source, run: Run, row: int) -> dict[str, Any]:
    """What decided a preview, by the names of a sweep's facts."""
    prompts = run.config.preview_prompts
    family = source.family
    drawn = {} if family is None else {"steps": family.sample_steps, "cfg": family.cfg}
    return {"prompt": prompts[row] if row < len(prompts) else "", "strength": 1.0,
            "seed": derived_seed(run.config.seed, "preview", row) % 2**32, **drawn}
