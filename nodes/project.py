"""Nodes that start a bootstrap project, and choose the views that its rounds ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from PIL import Image

from ..host import menu, paths
from ..host.drawing.pictures import first_of_batch, to_batch, to_pictures
from ..host.events import tell_project
from ..host.paths import output_path
from ..host.session import current_session
from ..host.shown_text import show_beside_panel
from ..host.working import problem, show_report
from ..trainer.bootstrap.config import BootstrapConfig, project_name
from ..trainer.bootstrap.planning.references import original_of
from ..trainer.bootstrap.planning.view_plan import plan_views
from ..trainer.bootstrap.planning.view_table import parse_table
from ..trainer.bootstrap.project import note_stage, open_project
from ..trainer.bootstrap.rounds import Project
from ..trainer.bootstrap.stages import STAGES
from ..trainer.bootstrap.training_sets import BuiltDataset, make_crops
from ..trainer.captions.roles import TagRoles, tag_roles
from ..trainer.captions.tags import join_tags, read_tags
from ..trainer.captions.views import VOCABULARIES, vocabulary_for
from ..trainer.common.errors import UserError
from ..trainer.models.families import WORDINGS
from ..trainer.models.sampler import save_picture
from ..trainer.pictures.images import pixel_hash
from ..trainer.statements.consent import Statement, save_statement
from ..trainer.views.wordings import EDIT_WORDINGS
from .inputs import read_rights, rights_inputs
from .schema import node_schema
from .sockets import BootstrapProjectSocket, BootstrapViews, LoraDataset

UNKNOWN_BASE = "other"
BY_THE_MODEL = "by the model"
PLACEHOLDER = "1girl"
"""Stands for tags that are known only when the node runs, while the other values are checked."""


class ProjectNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_Project", display_name="Bootstrap Project", category=menu.BOOTSTRAP,
            description="Starts from one image of a character: crops it, and saves everything the loop makes in "
                        "output/bootstrap/<name>. Shows where the project stands and what the next Run will do.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                io.Image.Input("picture", tooltip=(
                    "An image of the character, ideally the whole figure and nobody else. In a batch, the first.")),
                io.String.Input("tags", default="", multiline=True, tooltip=(
                    "Tags for everything the image shows, separated by commas: 1girl, fox ears, blonde hair, white "
                    "dress, front view. Traits and clothes belong to the character; pose, view, expression, place, "
                    "light, style and unknown words only to this image. +holding cup makes a tag hers, -white dress "
                    "leaves it to this image.")),
                io.String.Input("trigger", default="", tooltip=(
                    "A word that has no meaning yet, such as eiei21girl. It calls the LoRA.")),
                io.String.Input("name", default="", tooltip=(
                    "Name of the project and its LoRA. Leave empty to use the trigger.")),
                io.String.Input("targets", default="4, 16, 40", tooltip=(
                    "Number of images to train on: first the crops, then crops and kept images together after each "
                    "round. Two or three numbers.")),
                io.String.Input("candidates", default="48, 96", tooltip="Number of images to draw in each round."),
                io.Int.Input("seed", default=0, min=0, max=2**31 - 1, control_after_generate=False, tooltip=(
                    "Seed of the prompts and of the candidates' noise.")),
                io.Model.Input("model", optional=True, tooltip=(
                    "The base model. It decides which words describe views, and whether the sandbox's own judge "
                    "measures likeness.")),
                LoraDataset.Input("originals", optional=True, tooltip=(
                    "Images of your own to use instead of the crops, with captions: from Crop Picture, Tag Images, "
                    "Edit Tags, or a folder.")),
                io.String.Input("proposed", optional=True, force_input=True, tooltip=(
                    "Tags of the image from Tag Images. If tags is empty, they are written there for you to look at, "
                    "and everything downstream waits for the next Run.")),
                *rights_inputs("the project", "the images and what is trained on them", optional=True),
                io.String.Input("licence", default="", optional=True, tooltip=(
                    "Licence of the images and of what is trained on them, as Hugging Face spells it (cc-by-4.0), or "
                    "in words.")),
            ],
            outputs=[
                BootstrapProjectSocket.Output(display_name="project"),
                LoraDataset.Output(display_name="crops", tooltip="The dataset for the first style LoRA."),
                io.String.Output(display_name="trigger"),
                io.Image.Output(display_name="pictures", is_output_list=True, tooltip="The crops, one by one."),
            ],
        )

    @classmethod
    def validate_inputs(cls, tags, trigger, name, targets, candidates, proposed="") -> bool | str:
        waits = proposed is None and tags is not None and not tags.strip()  # linked: the tags come with the Run
        return problem(project_config, PLACEHOLDER if waits else tags, trigger, name, targets, candidates)

    @classmethod
    def fingerprint_inputs(cls, trigger, name, **_) -> Any:
        if trigger is None or name is None:  # linked: the project is known only when the node runs
            return float("nan")
        called = project_name(name.strip(), trigger)
        there = (paths.projects_root() / called / "project.json").is_file()
        return float("nan") if called in current_session().projects and not there else 0

    @classmethod
    def execute(cls, picture, tags, trigger, name, targets, candidates, seed, model=None,
                originals=None, proposed=None, licence="", **rights) -> io.NodeOutput:
        statement = Statement(read_rights(rights), licence.strip())
        if not tags.strip() and proposed is not None:
            return propose(proposed, base_family(model), cls.hidden.unique_id)
        config = project_config(tags, trigger, name, targets, candidates, seed=seed, base=base_family(model),
                             crops=len(originals) if originals is not None else 0)
        project, made = start_project(config, to_pictures(picture)[0], originals)
        stated, problem = save_statement(project.folder, statement)
        current_session().projects.add(project.name)
        tell_project(project.name)
        roles = project.roles
        unseen = "\n".join(first_of_batch(picture, "picture"))  # the panel shows the rest
        report = "\n".join(filter(None, (*stated.lines(), problem, made.summary, *say_roles(roles), unseen)))
        beyond = "\n".join(filter(None, (*(f"⚠ {line}" for line in stated.warnings), problem, unseen)))
        show_beside_panel(report, cls.hidden.unique_id, beyond)
        return io.NodeOutput(project, made.dataset, config.trigger, [to_batch(crop.load()) for crop in made.dataset],
                             ui={"lora_bootstrap": [{"project": project.name}]})


class ViewPrompts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ViewPrompts", display_name="View Prompts", category=menu.BOOTSTRAP,
            description="Writes the prompts of a round: the character's tags in views from all around, in several "
                        "moods and named styles. Link prompt and seed to a sampler of your choice, and its image to "
                        "Save Candidates, which runs that part once per view.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                BootstrapProjectSocket.Input("project"),
                io.Int.Input("round", default=1, min=0, max=9, tooltip=(
                    "The round. 0: the base model's own images, without the trigger, as a reference for the other "
                    "rounds.")),
                io.Int.Input("count", default=0, min=0, max=10_000, tooltip=(
                    "Number of prompts. 0: as many as the project says.")),
                io.String.Input("views", default="", multiline=True, tooltip=(
                    "Views to ask for, one line each for angle, height, framing, pose, expression, outfit, object, "
                    "background, lighting and style: angle: from side 2, from behind 1. A number is a weight. own is "
                    "what the image shows. A line without tags leaves that out: outfit: alone keeps her in her own "
                    "clothes. Empty: the usual ones.")),
                io.String.Input("before", default="", tooltip=(
                    "Text to put before every prompt: masterpiece, best quality.")),
                io.String.Input("after", default="", tooltip="Text to put after every prompt."),
                io.Int.Input("seed", default=0, min=0, max=2**31 - 1, control_after_generate=False, tooltip=(
                    "Number added to the project's seed. Another seed asks for other combinations with other noise; "
                    "existing candidates are kept. For a seed sweep, queue several Runs with increment.")),
                LoraDataset.Input("dataset", optional=True, tooltip=(
                    "The images you already have. Views that they show are asked for less, missing ones more.")),
                io.Combo.Input("wording", options=[BY_THE_MODEL, *WORDINGS, *EDIT_WORDINGS], default=BY_THE_MODEL,
                               optional=True, tooltip=(
                    "How prompts and captions are written. tags: 1girl, white dress, from behind, for SD 1.5, SDXL and "
                    "Anima. sentences: a girl wearing a white dress, seen from behind, for Flux, Qwen, Krea and "
                    "Z-Image. by the model: as the base model linked to Bootstrap Project was taught. For an edit "
                    "model that sees the reference: edit instruction (Show the same character from behind), or camera "
                    "angles, as the multiple-angles LoRAs read them; captions stay as the base model reads them.")),
            ],
            outputs=[
                io.String.Output(display_name="prompt", tooltip="The prompt, for the text encoder."),
                io.Int.Output(display_name="seed", tooltip="The seed, for the sampler."),
                BootstrapViews.Output(display_name="views", tooltip="The views, for Save Candidates."),
                io.String.Output(display_name="prompts", is_output_list=True, tooltip=(
                    "All prompts as a list, for other uses.")),
                io.String.Output(display_name="table", tooltip=(
                    "How often each tag is asked for, in the form that views accepts.")),
                io.Image.Output(display_name="reference", tooltip=(
                    "The image that an edit model starts from. Save Candidates chooses it for each view: a crop for "
                    "close views, the whole image for others, and from round 2 on the kept image of the nearest "
                    "angle.")),
                io.Image.Output(display_name="original", tooltip=(
                    "The project's whole image, to link beside reference.")),
            ],
        )

    @classmethod
    def validate_inputs(cls, views) -> bool | str:
        return problem(check_views, views)

    @classmethod
    def execute(cls, project, round, count, views, before, after, seed, dataset=None,
                wording=BY_THE_MODEL) -> io.NodeOutput:
        captions = [sample.caption for sample in dataset] if dataset is not None else ()
        words = project.round(round).words_in("" if wording == BY_THE_MODEL else wording)
        plan = plan_views(project, round, count=count, axes=parse_table(views, words.vocabulary), captions=captions,
                          before=before, after=after, seed=project.config.seed + seed, words=words)
        show_report("\n".join((f"{len(plan.views)} prompts", plan.table, *plan.notes)), cls.hidden.unique_id)
        first = plan.views[0]
        whole = whole_image(project)
        return io.NodeOutput(first.text, first.seed, plan, [view.text for view in plan.views], plan.table, whole, whole)


def propose(tags: str, base: str, node_id: str | None) -> io.NodeOutput:
    """Show tags and whose each is; all that comes after waits for the Run that has them in the widget.

    Raises UserError if there are none.
    """
    found = read_tags(tags)
    if not found:
        raise UserError("the tagger found no tag in the image. Write its tags into tags of Bootstrap Project.")
    roles = tag_roles(found, vocabulary_for(base))
    lines = ["Look at the tags, change what is wrong, and press Run again.", *say_roles(roles)]
    show_beside_panel("\n".join(lines), node_id, "")
    return io.NodeOutput(*(ExecutionBlocker(None),) * 4, ui={"lora_bootstrap": [{
        "proposed": join_tags(found),
        "roles": {"identity": list(roles.identity), "view": list(roles.view), "dropped": list(roles.dropped)},
        "warnings": list(roles.warnings)}]})


def say_roles(roles: TagRoles) -> Iterator[str]:
    """Whose each tag is, one line per role, and what to look at."""
    yield f"the character's tags: {', '.join(roles.identity) or 'none'}"
    yield f"this image's tags: {', '.join(roles.view) or 'none'}"
    if roles.dropped:
        yield f"left out: {', '.join(roles.dropped)} (write them into before of View Prompts)"
    yield from (f"⚠ {line}" for line in roles.warnings)


# -- from widgets to a project -----------------------------------------------------------------------------------------


def numbers(text: str, name: str) -> tuple[int, ...]:
    """The numbers in a text such as `4, 16, 40`. Raises UserError for anything else."""
    parts = [part for part in re.split(r"[\s,;]+", text.strip()) if part]
    if not parts or not all(part.isdigit() for part in parts):
        raise UserError(f"{name} are {text!r}; they must be numbers separated by commas, such as 4, 16, 40.")
    return tuple(map(int, parts))


def project_config(tags: str, trigger: str, name: str, targets: str, candidates: str, *, seed: int = 0,
                base: str = UNKNOWN_BASE, crops: int = 0) -> BootstrapConfig:
    """The project that the widgets describe. Raises UserError for invalid values.

    Args:
        crops: how many images were given instead of the crops; 0: none.
    """
    wanted = numbers(targets, "targets")
    config = BootstrapConfig(
        picture="", tags=tuple(read_tags(tags)), trigger=trigger.strip(), name=name.strip(), base=base,
        seed=seed, targets=(crops, *wanted[1:]) if crops else wanted,
        candidates=numbers(candidates, "candidates"))
    paths.own_folder(paths.projects_root(), config.name)
    if not name.strip():
        _refuse_older_name(trigger.strip().replace(" ", "-"), config.name)
    return config


def _refuse_older_name(older: str, name: str) -> None:
    """Raise UserError if an earlier version named a project after the trigger as it is, where another name is made from
    it today: the project would be begun anew without a word."""
    if older != name and Path(older).name == older and (paths.projects_root() / older / "project.json").is_file():
        raise UserError(f"project {older!r} has a name that is refused today; rename its folder to {name!r}, then run "
                        "again.")


def base_family(model: Any) -> str:
    """The family of a MODEL; "other" if it has none or there is no model."""
    if model is None:
        return UNKNOWN_BASE
    from ..host.backbone.facts import family_name

    return family_name(model)


def start_project(config: BootstrapConfig, picture: Image.Image, own: Any = None) -> tuple[Project, BuiltDataset]:
    """Write the project's settings, its image and its crops, or load them if they exist.

    Raises UserError if the name belongs to another project.
    """
    folder = paths.own_folder(paths.projects_root(), config.name)
    record = open_project(folder, config.to_dict() | {"picture": str(folder / "picture.png")}, pixel_hash(picture),
                          afresh=False)
    if not (folder / "picture.png").is_file():
        save_picture(folder / "picture.png", picture)
    project = Project(folder, BootstrapConfig.from_dict(record.settings))
    made = make_crops(project, picture, "picture", own)
    note_stage(record, *STAGES["crops"].name_and_title(), made.summary, made.reused, {"folder": output_path(
        project.crops_folder)})
    return project, made


def whole_image(project: Project) -> Any:
    """The project's image as an IMAGE. If it is gone, what is linked to it waits, and the reason is shown there."""
    try:
        return to_batch(original_of(project).load())
    except UserError as error:
        return ExecutionBlocker(str(error))


def check_views(text: str) -> None:
    """Raises UserError if the table of views cannot be read."""
    parse_table(text, next(iter(VOCABULARIES.values())))
