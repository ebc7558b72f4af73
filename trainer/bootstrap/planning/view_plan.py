"""What a workflow draws for a round: the prompt, seed and file name of each candidate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ...captions.axes import find_contradictions
from ...captions.tags import split_tags
from ...captions.views import view_prompts
from ...common.errors import UserError
from ...common.files import file_hash, remove_file, write_json
from ...lora.hashes import tensor_hash
from ...pictures.images import open_image
from ..candidates import Lineage, PlannedView, picture_seed, save_candidate
from ..project import key_of
from ..rounds import REFERENCE, Project, Round, RoundWords
from .references import Reference
from .view_table import count_views, steer_axes

REFERENCE_COUNT = 16
"""Number of the base's images that candidates are compared with."""
LEAST_STYLES = 3
"""With fewer named styles than this, the style is learnt as part of the character (science notes, section 1.6)."""
MOST_CFG = 5.0
"""Above this, images burn more from round to round (arXiv 2407.17493)."""


@dataclass(frozen=True)
class ViewPlan:
    """All candidates of a round. `notes` say what is requested more or less often, and why."""

    round: int
    views: tuple[PlannedView, ...]
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """How often each tag is requested, one line per axis."""
        return count_views([view.prompt.view for view in self.views])


def plan_views(project: Project, number: int, *, count: int = 0, seed: int | None = None,
               axes: Mapping[str, Mapping[str, float]] | None = None, captions: Sequence[str] = (), before: str = "",
               after: str = "", words: RoundWords | None = None) -> ViewPlan:
    """The candidates of a round. Round 0 is the base's own images, whose prompts have no trigger.

    Args:
        count: 0 uses the project's number.
        seed: None uses the project's own, with which the command line makes the same prompts.
        axes: axis → tag → weight; None uses those of `words`.
        captions: captions of the existing images, to request what they lack; if empty, all is requested evenly.
        before, after: words around every prompt, such as a base's quality words; they are not tags of the image.
        words: None uses the round's.
    """
    round_, config = project.round(number), project.config
    seed, words = config.seed if seed is None else seed, words or round_.words
    notes: tuple[str, ...] = ()
    axes = axes or words.vocabulary.axes
    if captions and number != REFERENCE:
        axes, notes = steer_axes(axes, captions, project.target(number), words.vocabulary.said)
    has_styles = number != REFERENCE and "style" in words.vocabulary.axes  # what moves only the camera has none
    if has_styles and (styles := len(axes.get("style", ()))) < LEAST_STYLES:
        notes = (f"{styles} named styles: list {LEAST_STYLES} to 6, or other style LoRAs will override the "
                 "character.", *notes)
    count = count or (REFERENCE_COUNT if round_.number == REFERENCE else config.candidates[number - 1])
    trigger = "" if number == REFERENCE else config.trigger
    prompts = [words.complete(prompt) for prompt in view_prompts(
        count, words.roles, words.vocabulary, seed=seed + 1000 * number, axes=axes, trigger=trigger)]
    views = (PlannedView(index, prompt, _surrounded(before, words.prompt(prompt, trigger), after) + words.end,
                         picture_seed(seed, number, index), words.wording)
             for index, prompt in enumerate(prompts))
    around = split_tags(f"{before}, {after}")
    return ViewPlan(number, tuple(views), (*words.notes, *_contradictions([prompt.tags for prompt in prompts], around),
                                           *notes))


def _contradictions(prompts: Sequence[Sequence[str]], around: Sequence[str]) -> Iterator[str]:
    """A line if prompts, with the words around them, ask for what no one image can show."""
    pairs = [found for tags in prompts if (found := find_contradictions([*tags, *around]))]
    if pairs:
        (one, other), *_ = pairs[0]
        yield (f"{len(pairs)} of {len(prompts)} prompts contradict themselves, such as `{one}` beside `{other}`: take "
               "one of them out of before, after, views, or the character's tags.")


def _surrounded(before: str, prompt: str, after: str) -> str:
    return ", ".join(part for part in (before.strip(" ,"), prompt, after.strip(" ,")) if part)


@dataclass(frozen=True)
class Source:
    """What draws the candidates: the LoRA (None for the base alone), its strength, and the workflow around it.

    Attributes:
        recipe: hash of everything in the workflow that decides the images.
        steps, cfg: the sampler's, where the workflow states them.
        generator: what draws, for people. No key depends on it: the recipe says the same more exactly.
        curve: the factor on the strength over the steps, as `Lineage.curve` has it.
        edits: whether an image is edited.
    """

    lora: Path | None
    strength: float
    recipe: str
    steps: int | None = None
    cfg: float | None = None
    generator: str = ""
    curve: str = ""
    edits: bool = False


def lineage_of(round_: Round, view: PlannedView, source: Source, reference: Reference | None = None) -> Lineage:
    """The name of a candidate, and what is written beside it. Its size is known only once it is drawn.

    Args:
        reference: the image that this view's edit starts from, if one is linked.
    """
    digest = file_hash(source.lora) if source.lora else ""
    weights = tensor_hash(source.lora) if source.lora else ""
    strength = source.strength if source.lora else 0.0
    key = key_of(view.text, view.seed, weights, strength, source.recipe, round_.project.config.base,
                 *([reference.pixels] if reference else []))
    return Lineage(
        name=f"r{round_.number}-{view.index:03d}-{key[:6]}", prompt=view.text, tags=list(view.prompt.tags),
        view=dict(view.prompt.view), seed=view.seed, round=round_.number,
        parent_lora=source.lora.stem if source.lora else "", parent_lora_sha256=digest, strength=strength,
        base=round_.project.config.base, width=0, height=0, steps=source.steps, cfg=source.cfg, recipe=source.recipe,
        wording=view.wording, generator=source.generator, reference=reference.name if reference else "",
        reference_hash=reference.pixels if reference else "", curve=source.curve,
        edits=source.edits)


def is_kept(round_: Round, lineage: Lineage) -> bool:
    """Whether a candidate with that lineage already exists, also under the name that it had under earlier keys."""
    path = round_.candidates_folder / f"{lineage.name}.png"
    if lineage.asked_for:
        return path.is_file() and path.with_suffix(".json").is_file()
    if path.is_file() and path.with_suffix(".json").is_file():
        return True
    return any(replace(told, name=lineage.name, width=0, height=0, generator=lineage.generator, curve=lineage.curve,
                       edits=lineage.edits) == lineage
               for _, told in _other_candidates(round_, lineage.name, ""))


def keep_candidates(round_: Round, lineage: Lineage, images: Sequence[Image.Image]) -> list[Path]:
    """Save what a sampler drew for one view. The second image of a batch is named `…-1`, and so on.

    An image that exists already under another key keeps its name, by which it may have been picked, and gets this
    lineage.
    """
    paths = []
    for number, image in enumerate(images):
        ending = f"-{number}" if number else ""
        mine = replace(lineage, name=f"{lineage.name}{ending}", width=image.width, height=image.height)
        same = None if mine.asked_for else next((path for path, told in _other_candidates(round_, lineage.name, ending)
                     if (told.prompt, told.seed) == (mine.prompt, mine.seed) and _is_image(path, image)), None)
        if same is not None:
            write_json(same.with_suffix(".json"), replace(mine, name=same.stem).to_dict())
        paths.append(same or save_candidate(round_.candidates_folder, image, mine))
    return paths


def _other_candidates(round_: Round, name: str, ending: str) -> Iterator[tuple[Path, Lineage]]:
    """(file, lineage) of the candidates of the same view and place in a batch whose keys are others."""
    view = name.rpartition("-")[0]
    form = re.compile(rf"{re.escape(view)}-[0-9a-f]+{ending}")
    for path in sorted(round_.candidates_folder.glob(f"{view}-*.png")):
        if form.fullmatch(path.stem) and path.stem != f"{name}{ending}":
            with suppress(UserError):  # an image without a lineage is not ours
                if not (lineage := Lineage.read(path)).asked_for:
                    yield path, lineage


def _is_image(path: Path, image: Image.Image) -> bool:
    try:
        saved = open_image(path)
    except UserError:
        return False
    return saved.size == image.size and saved.tobytes() == image.convert("RGB").tobytes()


def remove_outdated(round_: Round, names: Sequence[str]) -> None:
    """Remove images of the base that were made with other settings, because candidates are compared with all of
    them."""
    for path in round_.list_candidates():
        if not path.stem.startswith(tuple(names)):
            remove_file(path)
            remove_file(path.with_suffix(".json"))
