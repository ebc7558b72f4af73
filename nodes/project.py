"""Nodes that say what a bootstrap project is, and which views its rounds ask for."""

from __future__ import annotations

import re
from typing import Any

from comfy_api.latest import io
from PIL import Image

from ..host import menu, paths
from ..host.drawing.pictures import to_batch, to_pictures
from ..host.events import tell_project
from ..host.paths import output_path
from ..host.working import problem, show_report
from ..trainer.bootstrap.config import BootstrapConfig
from ..trainer.bootstrap.project import note_stage, open_project
from ..trainer.bootstrap.rounds import BootstrapProject, Made, make_crops
from ..trainer.bootstrap.view_plan import plan_views
from ..trainer.bootstrap.view_table import parse_table
from ..trainer.captions.tags import split_tags
from ..trainer.captions.views import VOCABULARIES
from ..trainer.common.errors import UserError
from ..trainer.models.sampler import save_picture
from ..trainer.pictures.images import pixel_hash
from .sockets import BootstrapProjectSocket, BootstrapViews, LoraDataset

UNKNOWN_BASE = "other"
_begun: set[str] = set()
"""Projects that this process wrote: if one is gone, its node must run again, though nothing in the graph has changed.
"""


class ProjectNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_Project", display_name="Bootstrap Project", category=menu.BOOTSTRAP,
            description="From one picture of a character: cuts it into crops, and keeps everything of the loop in "
                        "output/bootstrap/<name>. Shows where the project stands and what the next Run will do.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                io.Image.Input("picture", tooltip="The character, best in full and alone. Of a batch, the first."),
                io.String.Input("tags", default="", multiline=True, tooltip=(
                    "Everything the picture shows, between commas: 1girl, fox ears, blonde hair, white dress, front "
                    "view. What no view word says is the character's own.")),
                io.String.Input("trigger", default="", tooltip=(
                    "A word that means nothing yet, such as eiei21girl: the LoRA is called by it.")),
                io.String.Input("name", default="", tooltip="Of the project and its LoRA; empty: the trigger."),
                io.String.Input("targets", default="4, 16, 40", tooltip=(
                    "Pictures to train on: crops, then crops and kept pictures after each round. Two or three "
                    "numbers.")),
                io.String.Input("candidates", default="48, 96", tooltip="Pictures to draw in each round."),
                io.Int.Input("seed", default=0, min=0, max=2**31 - 1, control_after_generate=False, tooltip=(
                    "Of the prompts and of the candidates' noise.")),
                io.Model.Input("model", optional=True, tooltip=(
                    "The base. By it the words for views are chosen, and whether the sandbox's eye can see.")),
                LoraDataset.Input("originals", optional=True, tooltip=(
                    "Pictures of your own in place of the crops, with captions: from Crop Picture, Tag Images, "
                    "Edit Tags, or a folder.")),
            ],
            outputs=[
                BootstrapProjectSocket.Output(display_name="project"),
                LoraDataset.Output(display_name="crops", tooltip="What the first style LoRA is trained on."),
                io.String.Output(display_name="trigger"),
                io.Image.Output(display_name="pictures", is_output_list=True, tooltip="The crops, one by one."),
            ],
        )

    @classmethod
    def validate_inputs(cls, tags, trigger, name, targets, candidates) -> bool | str:
        return problem(make_config, tags, trigger, name, targets, candidates)

    @classmethod
    def fingerprint_inputs(cls, trigger, name, **_) -> Any:
        if trigger is None or name is None:  # linked: which project it is shows only when the node runs
            return float("nan")
        called = name.strip() or trigger.strip().replace(" ", "-")
        there = (paths.projects_root() / called / "project.json").is_file()
        return float("nan") if called in _begun and not there else 0

    @classmethod
    def execute(cls, picture, tags, trigger, name, targets, candidates, seed, model=None,
                originals=None) -> io.NodeOutput:
        config = make_config(tags, trigger, name, targets, candidates, seed=seed, base=base_name(model),
                             crops=len(originals) if originals is not None else 0)
        project, made = start_project(config, to_pictures(picture)[0], originals)
        _begun.add(project.name)
        tell_project(project.name)
        roles = project.roles
        show_report("\n".join((made.summary, f"hers: {', '.join(roles.identity) or 'no tag'}",
                               f"this picture's: {', '.join(roles.view) or 'no tag'}")), cls.hidden.unique_id)
        return io.NodeOutput(project, made.dataset, config.trigger, [to_batch(one.load()) for one in made.dataset],
                             ui={"lora_bootstrap": [{"project": project.name}]})


class ViewPrompts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_ViewPrompts", display_name="View Prompts", category=menu.BOOTSTRAP,
            description="The prompts of a round: the character's tags in views from all around, in several moods and "
                        "named styles. Link prompt and seed to a sampler of your choice, and its image to Save "
                        "Candidates, which does that once for every view.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                BootstrapProjectSocket.Input("project"),
                io.Int.Input("round", default=1, min=0, max=9, tooltip=(
                    "0: the base's own pictures, without the trigger, that the others are compared with.")),
                io.Int.Input("count", default=0, min=0, max=10_000, tooltip="0: as many as the project says."),
                io.String.Input("views", default="", multiline=True, tooltip=(
                    "Which views, a line for each of angle, framing, expression, outfit, background and style: "
                    "angle: from side 2, from behind 1. A number is a weight; own is what the picture shows; a line "
                    "without tags leaves that out. Empty: the usual ones.")),
                io.String.Input("before", default="", tooltip="Put before every prompt: masterpiece, best quality."),
                io.String.Input("after", default="", tooltip="Put after every prompt."),
                io.Int.Input("seed", default=0, min=0, max=2**31 - 1, control_after_generate=False, tooltip=(
                    "Another seed asks for other combinations with other noise; what is there stays beside it. Queue "
                    "several Runs with increment for a seed sweep.")),
                LoraDataset.Input("dataset", optional=True, tooltip=(
                    "What there is already: views that it shows are asked for less, those it lacks more.")),
            ],
            outputs=[
                io.String.Output(display_name="prompt", tooltip="For the text encoder."),
                io.Int.Output(display_name="seed", tooltip="For the sampler."),
                BootstrapViews.Output(display_name="views", tooltip="For Save Candidates."),
                io.String.Output(display_name="prompts", is_output_list=True, tooltip=(
                    "All prompts as a list, for other uses.")),
                io.String.Output(display_name="table", tooltip="How often each tag is asked for, as views takes it."),
            ],
        )

    @classmethod
    def validate_inputs(cls, views) -> bool | str:
        return problem(check_views, views)

    @classmethod
    def execute(cls, project, round, count, views, before, after, seed, dataset=None) -> io.NodeOutput:
        captions = [sample.caption for sample in dataset] if dataset is not None else ()
        plan = plan_views(project, round, count=count, axes=parse_table(views, project.vocabulary), captions=captions,
                          before=before, after=after, seed=project.config.seed + seed)
        show_report("\n".join((f"{len(plan.views)} prompts", plan.table, *plan.notes)), cls.hidden.unique_id)
        first = plan.views[0]
        return io.NodeOutput(first.text, first.seed, plan, [view.text for view in plan.views], plan.table)


# -- from widgets to a project -----------------------------------------------------------------------------------------


def numbers(text: str, name: str) -> tuple[int, ...]:
    """`4, 16, 40` as numbers. Raises UserError for anything else."""
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    if not parts or not all(part.isdigit() for part in parts):
        raise UserError(f"{name} are {text!r}; give numbers between commas, such as 4, 16, 40.")
    return tuple(map(int, parts))


def make_config(tags: str, trigger: str, name: str, targets: str, candidates: str, *, seed: int = 0,
                base: str = UNKNOWN_BASE, crops: int = 0) -> BootstrapConfig:
    """What the widgets say. Raises UserError for what cannot be.

    Args:
        crops: how many pictures somebody gave instead of the crops; 0: none.
    """
    wanted = numbers(targets, "targets")
    config = BootstrapConfig(
        picture="", tags=tuple(split_tags(tags.replace("\n", ","))), trigger=trigger.strip(), name=name.strip(),
        base=base, seed=seed, targets=(crops, *wanted[1:]) if crops else wanted,
        candidates=numbers(candidates, "candidates"))
    paths.own_folder(paths.projects_root(), config.name)
    return config


def base_name(model: Any) -> str:
    """The family of a MODEL, "other" if it has none or there is no model."""
    if model is None:
        return UNKNOWN_BASE
    from ..host.backbone.model import family_name

    return family_name(model)


def start_project(config: BootstrapConfig, picture: Image.Image, own: Any = None) -> tuple[BootstrapProject, Made]:
    """Write what the project is, its picture and its crops, or find them. Raises UserError if the name is another's."""
    folder = paths.own_folder(paths.projects_root(), config.name)
    record = open_project(folder, config.to_dict() | {"picture": str(folder / "picture.png")}, pixel_hash(picture),
                          afresh=False)
    if not (folder / "picture.png").is_file():
        save_picture(folder / "picture.png", picture)
    project = BootstrapProject(folder, BootstrapConfig.from_dict(record.settings))
    made = make_crops(project, picture, "picture", own)
    note_stage(record, "crops", "Crop the picture", made.summary, made.reused, {"folder": output_path(
        project.crops_folder)})
    return project, made


def check_views(text: str) -> None:
    """Raises UserError if the table of views cannot be read."""
    parse_table(text, next(iter(VOCABULARIES.values())))
