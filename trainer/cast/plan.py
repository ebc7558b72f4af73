"""What a cast takes before anything is made: steps, images and cells of each character, hours by card, and their price.

Times are predictions, as those of `lora-bootstrap plan`. A forward pass of a sampler is taken as half a training step
of one image, because a LoRA's backward pass through frozen weights takes about as long as its forward pass. The times
of characters that are finished in the output folder stand beside the predictions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

from ..backends.given_base import AS_LOADED, SANDBOX
from ..bootstrap.loop import SHOWCASE_COUNT
from ..bootstrap.planning.view_plan import REFERENCE_COUNT
from ..common.errors import unknown_name
from ..memory.bases import Base, find_base
from ..memory.cards import CARDS
from ..memory.plan import make_plan
from ..memory.shapes import shape_family
from ..models.families import Family
from ..sweeps.axis_text import choose_checkpoints
from ..sweeps.prompt_sets import FROM_CAPTIONS, prompts
from ..training.config import TrainConfig
from ..training.epochs import steps_for
from ..training.presets import kind_preset, preset_config
from .character import KIND, Character
from .records import CastRecords

STYLE = "style"
CAPTIONS = 8
"""Prompts that are counted where they come from the LoRA's captions."""
OVERHEAD = 60.0
"""Seconds for each character that are neither steps nor images: files, curation, scores, reports."""


@dataclass(frozen=True)
class Work:
    """What is made for a character.

    Attributes:
        trainings: (kind of training, its settings as JSON, steps) of each.
        images: drawn by its project, and as cells of its sweep.
    """

    trainings: tuple[tuple[str, str, int], ...]
    images: int

    @property
    def steps(self) -> int:
        return sum(steps for _, _, steps in self.trainings)


@dataclass(frozen=True)
class CardPlan:
    """Hours and price of the whole cast on one kind of card; None for a price that was not given.

    Attributes:
        hours: of all workers together.
        waiting: hours until all is done, with that many workers.
    """

    card: str
    hours: float
    waiting: float
    price: float | None
    cost: float | None


@dataclass(frozen=True)
class CastPlan:
    """Attributes:
        steps, images: of the whole cast.
        cards: by card, those that hold every base of the cast; the fastest first.
        measured: (hours of a character, of how many) that are finished in the output folder; None if there are none.
        left_out: characters that are finished already; they are in no other figure.
    """

    characters: int
    left_out: int
    steps: int
    images: int
    cards: tuple[CardPlan, ...]
    measured: tuple[float, int] | None


def plan_cast(cast: Sequence[Character], prices: Mapping[str, float], workers: int,
              records: CastRecords) -> CastPlan:
    """Plan a cast. Raises UserError for a base that cannot be counted, and for a price of an unknown card.

    Args:
        prices: of an hour by card; "" for every card that has no price of its own. Cards without one are listed only if
            no card has a price.
        workers: how many characters are worked on at a time.
    """
    named = [card for card in prices if card]
    if unknown := [card for card in named if card not in {row.name for row in CARDS}]:
        raise unknown_name("card", unknown[0], (row.name for row in CARDS))
    known = {each.name: records.read(each) for each in cast}
    finished = [each for each in cast if records.next_kind(each, known[each.name]) is None]
    done = {each.name for each in finished}
    works = [(each, count_work(each)) for each in cast if each.name not in done]
    hours = [sum(known[each.name].seconds.values()) / 3600 for each in finished]
    rows = [_card_plan(card.name, works, prices, workers) for card in CARDS if not named or card.name in named]
    return CastPlan(len(cast), len(finished), sum(work.steps for _, work in works),
                    sum(work.images for _, work in works),
                    tuple(sorted((row for row in rows if row), key=lambda row: row.hours)),
                    (sum(hours) / len(hours), len(hours)) if hours else None)


def count_work(character: Character) -> Work:
    """The steps and images of a character, as its settings ask for them: no round ends the loop early."""
    project, family = character.project, _family(character.project.base)
    trainings = [(STYLE, project.style, images) for images in project.targets[:-1]]
    trainings.append((KIND, project.character, project.targets[-1]))
    counted = tuple((kind, json.dumps(dict(settings), sort_keys=True), _count_steps(family, kind, settings, images))
                    for kind, settings, images in trainings)
    grid = SHOWCASE_COUNT * len(project.strengths)
    cells = _count_cells(character, family, counted[-1][2])
    return Work(counted, REFERENCE_COUNT + sum(project.candidates) + grid + cells)


def _count_steps(family: Family, kind: str, settings: Mapping[str, Any], images: int) -> int:
    config = preset_config(family, kind, settings)
    if config.epochs:
        return ceil(config.epochs * ceil(images / config.data.batch_size) / config.accumulation_steps)
    return config.steps if settings.get("steps") else steps_for(kind_preset(family, kind), images)


def _count_cells(character: Character, family: Family, steps: int) -> int:
    plan, every = character.sweep, character.project.character.get("save_every") or steps
    saved = [(step, Path()) for step in range(every, steps + 1, every)]
    if not saved or saved[-1][0] != steps:
        saved.append((steps, Path()))
    texts = prompts(plan.written_prompts(character.project.trigger), plan.prompt_set, family.name,
                    [str(number) for number in range(CAPTIONS)] if plan.prompt_set == FROM_CAPTIONS else ())
    drawn = len(texts) * len(plan.seeds)
    return drawn * (len(choose_checkpoints(saved, plan.checkpoints)) * len(plan.strengths) + plan.without)


def _card_plan(card: str, works: Sequence[tuple[Character, Work]], prices: Mapping[str, float],
               workers: int) -> CardPlan | None:
    """None if a base does not fit the card."""
    seconds, cost, longest = 0.0, 0.0, 0.0
    price = prices.get(card, prices.get(""))
    for character, work in works:
        needed = _seconds_on(card, character, work)
        if needed is None:
            return None
        own = price if character.price is None else character.price
        seconds, longest = seconds + needed, max(longest, needed)
        cost += needed / 3600 * (own or 0.0)
    known = price is not None or any(character.price is not None for character, _ in works)
    waiting = max(seconds / max(workers, 1), longest)
    return CardPlan(card, seconds / 3600, waiting / 3600, price, cost if known else None)


def _seconds_on(card: str, character: Character, work: Work) -> float | None:
    project = character.project
    family = _family(project.base)
    seconds, image = OVERHEAD, 0.0
    for kind, settings, steps in work.trainings:
        found = _step_on(card, project.base, character.base_precision, kind, settings)
        if found is None:
            return None
        step, image = found
        seconds += step * steps
    passes = (project.sample_steps or family.sample_steps) * (2 if (project.cfg or family.cfg) > 1 else 1)
    return seconds + image * passes * work.images


@lru_cache(maxsize=4096)
def _step_on(card: str, base: str, precision: str, kind: str, settings: str) -> tuple[float, float] | None:
    """Seconds on a card of a training step, and of a forward pass for one image; None if the step does not fit."""
    found, row = _base(base), next(row for row in CARDS if row.name == card)
    config = _counted_config(_family(base), kind, json.loads(settings))
    held = precision if precision != AS_LOADED else "fp32" if base == SANDBOX else "bf16"
    plan = make_plan(found, config, held, row.memory, config.data.batch_size)
    step = plan.seconds.get(card) if plan.fits else None
    return None if step is None else (step, step / (2 * config.data.batch_size * config.accumulation_steps))


def _counted_config(family: Family, kind: str, settings: Mapping[str, Any]) -> TrainConfig:
    """The settings of a training, without the text encoder, whose share of a step's time is small."""
    return preset_config(family, kind, {**settings, "adapter.text_encoder": False})


@lru_cache(maxsize=64)
def _base(name: str) -> Base:
    return find_base(name)


def _family(base: str) -> Family:
    return shape_family(_base(base).shape)
