"""What a round of a graph is to draw: a prompt and a seed for each candidate, and under which name it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ..captions.views import ViewPrompt, view_prompts
from ..common.files import file_hash
from .candidates import Lineage, picture_seed, save_candidate
from .project import key_of
from .rounds import REFERENCE, Project, Round
from .view_table import count_views, steer_axes

REFERENCE_COUNT = 16
"""Pictures of the base that candidates are compared with."""
LEAST_STYLES = 3
"""In fewer named styles than this, the character is learnt together with the style (science notes, section 1.6)."""
MOST_CFG = 5.0
"""Above it, what a loop draws burns in from round to round (arXiv 2407.17493)."""


@dataclass(frozen=True)
class PlannedView:
    """One candidate to make.

    Attributes:
        text: the whole prompt: the view's, between what is put before and after it.
    """

    index: int
    prompt: ViewPrompt
    text: str
    seed: int


@dataclass(frozen=True)
class ViewPlan:
    """All candidates of a round. `notes`: what was asked for more or less often, and why."""

    round: int
    views: tuple[PlannedView, ...]
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """How often each tag is asked for, a line an axis."""
        return count_views([view.prompt.view for view in self.views])


def plan_views(project: Project, number: int, *, count: int = 0, seed: int | None = None,
               axes: Mapping[str, Mapping[str, float]] | None = None, captions: Sequence[str] = (), before: str = "",
               after: str = "") -> ViewPlan:
    """The candidates of a round; of round 0 the base's own pictures, which no trigger is named for.

    Args:
        count: 0: as many as the project says.
        seed: None: the project's own, by which the command line makes the same prompts.
        axes: axis → tag → weight; None: the vocabulary's.
        captions: of the pictures that are there, to ask for what they lack; none: ask for all alike.
        before, after: words around every prompt, such as a base's quality words; they are no tags of the picture.
    """
    round_, config = project.round(number), project.config
    seed = config.seed if seed is None else seed
    notes: tuple[str, ...] = ()
    axes = axes or project.vocabulary.axes
    if captions and number != REFERENCE:
        axes, notes = steer_axes(axes, captions, project.target(number))
    if number != REFERENCE and (styles := len(axes.get("style", ()))) < LEAST_STYLES:
        notes = (f"{styles} named styles: ask for {LEAST_STYLES} to 6, or other style LoRAs will override the "
                 "character.", *notes)
    count = count or (REFERENCE_COUNT if round_.number == REFERENCE else config.candidates[number - 1])
    prompts = view_prompts(count, project.roles, project.vocabulary, seed=seed + 1000 * number, axes=axes,
                           trigger="" if number == REFERENCE else config.trigger)
    views = (PlannedView(index, prompt, ", ".join(part for part in (before.strip(" ,"), prompt.text,
                                                                    after.strip(" ,")) if part),
                         picture_seed(seed, number, index))
             for index, prompt in enumerate(prompts))
    return ViewPlan(number, tuple(views), notes)


@dataclass(frozen=True)
class Source:
    """What draws the candidates: the LoRA (None: the base alone), its strength, and the graph around it.

    Attributes:
        recipe: hash of the part of the graph that samples.
        steps, cfg: of the sampler, where the graph says.
    """

    lora: Path | None
    strength: float
    recipe: str
    steps: int | None = None
    cfg: float | None = None


def lineage_of(round_: Round, view: PlannedView, source: Source) -> Lineage:
    """Under which name a candidate is kept, and what is written beside it. Its size is known when it is made."""
    digest = file_hash(source.lora) if source.lora else ""
    strength = source.strength if source.lora else 0.0
    key = key_of(view.text, view.seed, digest, strength, source.recipe, round_.project.config.base)
    return Lineage(
        name=f"r{round_.number}-{view.index:03d}-{key[:6]}", prompt=view.text, tags=list(view.prompt.tags),
        view=dict(view.prompt.view), seed=view.seed, round=round_.number,
        parent_lora=source.lora.stem if source.lora else "", parent_lora_sha256=digest, strength=strength,
        base=round_.project.config.base, width=0, height=0, steps=source.steps, cfg=source.cfg, recipe=source.recipe)


def is_kept(round_: Round, lineage: Lineage) -> bool:
    """Whether a candidate of that lineage was made already."""
    path = round_.candidates_folder / f"{lineage.name}.png"
    return path.is_file() and path.with_suffix(".json").is_file()


def keep_candidates(round_: Round, lineage: Lineage, images: Sequence[Image.Image]) -> list[Path]:
    """Write what a sampler made of one view; the second picture of a batch is called `…-1`, and so on."""
    paths = []
    for number, image in enumerate(images):
        name = f"{lineage.name}-{number}" if number else lineage.name
        mine = replace(lineage, name=name, width=image.width, height=image.height)
        paths.append(save_candidate(round_.candidates_folder, image, mine))
    return paths


def remove_outdated(round_: Round, names: Sequence[str]) -> None:
    """Remove pictures of the base that were made with other settings: all of them are measured against."""
    for path in round_.list_candidates():
        if not path.stem.startswith(tuple(names)):
            path.unlink()
            path.with_suffix(".json").unlink()
