"""The node that writes a LoRA with all that others need to use it, as a folder and a zip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ...host import menu, paths
from ...host.session import current_session
from ...host.shown_text import menu_choices, show_beside_panel
from ...host.stacks import lora_names, strengths_file
from ...host.working import problem
from ...trainer.common.errors import UserError
from ...trainer.release.settings import FIRST_VERSION, MOST_PREVIEWS, MOST_STRENGTH, ReleaseSettings
from ...trainer.statements.consent import FILE as STATED
from ...trainer.statements.feedback import add_feedback, say_saved
from ...trainer.statements.feedback_form import Answer, read_forms
from ..inputs import RIGHTS, read_rights, rights_inputs
from ..schema import node_schema
from ..sockets import LoraRun, LoraSweep

LINKED_RUN = "the linked run"
WATCHED = ("scores.json", "marks.json", "strengths.json")
"""Files of a sweep that a release is written from."""


class ReleaseLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ReleaseLora", display_name="Release LoRA", category=menu.STACK,
            description="Writes a LoRA with metadata, previews, a model card, sidecars for managers and web UIs, and a "
                        "statement of consent and rights into output/loras/releases, as a folder and a zip. Every "
                        "figure comes from its run and its sweep. Nothing is uploaded.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input("lora", options=[LINKED_RUN, *menu_choices(lora_names())], default=LINKED_RUN, tooltip=(
                    "The LoRA to release: that of the linked run, or one of ComfyUI's list.")),
                *text_inputs(),
                *rights_inputs("the LoRA", "the LoRA and its training images"),
                io.Float.Input("strength", default=0.0, min=-MOST_STRENGTH, max=MOST_STRENGTH, step=0.05, tooltip=(
                    "Strength to recommend. 0: the one that Score Sweep or Refine Strengths measured.")),
                io.Int.Input("step", default=0, min=0, max=10_000_000, tooltip=(
                    "Checkpoint of the linked run. 0: the one that the sweep's scores recommend, or else the last.")),
                io.Int.Input("previews", default=6, min=0, max=MOST_PREVIEWS, tooltip=(
                    "Number of previews. With a sweep, the cell that is marked as best comes first, then those that "
                    "show other views. Without one, they are what the run drew while it was trained.")),
                io.Boolean.Input("strip", default=False, tooltip=(
                    "Leave out what the file says about its training, except for what is needed to use it.")),
                io.Boolean.Input("captions", default=False, tooltip=(
                    "Keep captions, prompts and names of folders in the file's metadata, and captions as prompts of "
                    "the previews that were drawn from them. They tell what your training images show.")),
                io.Boolean.Input("workflow", default=False, tooltip=(
                    "Keep the workflow in the previews, without folders of this computer.")),
                LoraRun.Input("run", optional=True, tooltip="A run to release a checkpoint of."),
                LoraSweep.Input("sweep", optional=True, tooltip=(
                    "A sweep that was drawn with this LoRA, best after Score Sweep. Previews, strength and limits come "
                    "from it.")),
                io.String.Input("feedback", optional=True, default="", multiline=True, tooltip=(
                    "Contents of the feedback.txt that testers filled in, one after the other. They are saved with the "
                    "run's bootstrap project, and its report shows them.")),
            ],
            outputs=[
                io.String.Output(display_name="folder", tooltip="The release's folder."),
                io.String.Output(display_name="zip", tooltip="The zip of that folder."),
                io.String.Output(display_name="report", tooltip=(
                    "What is open about consent and rights, what was written, and how to upload it.")),
            ],
        )

    @classmethod
    def validate_inputs(cls, name, version) -> bool | str:
        return problem(lambda *values: release_settings(name=values[0], version=values[1]), name, version)

    @classmethod
    def fingerprint_inputs(cls, lora, **_) -> Any:
        """What a sweep says may change, and so may the strengths of pairs and the answers of a project; which sweep or
        project it is, is known only when the node runs."""
        watched = [path for name in WATCHED for path in paths.sweeps_root().glob(f"*/{name}")]
        watched += paths.projects_root().glob(f"*/{STATED}")
        watched += [strengths_file()] if strengths_file().is_file() else []
        files = [*watched, *([] if lora in (None, LINKED_RUN) else [paths.lora_file(lora)])]
        return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)

    @classmethod
    def execute(cls, lora, strength, step, run=None, sweep=None, feedback="", **texts) -> io.NodeOutput:
        from ...trainer.release.release import release_lora

        answers = read_forms(feedback) if feedback.strip() else []
        settings = release_settings(**texts, strength=strength or None, step=step or None)
        done = release_lora(released_path(lora, run), paths.releases_root(), settings,
                            sweep=None if sweep is None else sweep.folder, strengths_file=strengths_file(),
                            projects=paths.projects_root())
        current_session().stack_files.note(done.lora)
        told = save_feedback(answers, done.project)
        report = "\n".join((*done.lines, *told))
        show_beside_panel(report, cls.hidden.unique_id, "\n".join(told))
        card = {**done.card, "folder": paths.output_path(done.folder), "lines": list(done.lines[-4:])}
        return io.NodeOutput(str(done.folder), str(done.zip), report, ui={"lora_bootstrap": [{"release": card}]})


def text_inputs() -> list[Any]:
    """What the author says of the release."""
    return [
        io.String.Input("name", default="", tooltip=(
            "Name of the release's folder and file. Leave empty to name it after the run or the LoRA.")),
        io.String.Input("title", default="", tooltip="Title of the model card. Leave empty to use the name."),
        io.String.Input("author", default="", tooltip="Name of the author, as you want to be called."),
        io.String.Input("version", default=FIRST_VERSION, tooltip=(
            "Version of this release. A release of the same version replaces it.")),
        io.String.Input("changes", default="", multiline=True, tooltip=(
            "What changed since the last release of this name, one line each. The card lists all versions.")),
        io.String.Input("description", default="", multiline=True, tooltip="What the LoRA is, in Markdown."),
        io.String.Input("licence", default="", tooltip=(
            "Licence, as Hugging Face spells it (cc-by-4.0, openrail++), or in words.")),
        io.String.Input("tags", default="", tooltip="Tags for sites, separated by commas."),
        io.String.Input("base_model", default="", tooltip=(
            "The base model's name on Hugging Face: owner/name. Leave empty if it is not there.")),
        io.String.Input("civitai_base", default="", tooltip=(
            "The base model's name on Civitai. Leave empty to use the name of the LoRA's family.")),
        io.String.Input("trigger", default="", tooltip="Trigger. Leave empty to use the one that the file records."),
        io.String.Input("negative", default="", tooltip=(
            "Negative prompt to recommend. Leave empty to use the sweep's."))]


def release_settings(*, tags: str = "", **values: Any) -> ReleaseSettings:
    """The settings that the widgets describe. Raises UserError for invalid values."""
    rights = read_rights({name: values.pop(name) for name in RIGHTS if name in values})
    words: dict[str, Any] = {
        name: value.strip() if isinstance(value, str) else value for name, value in values.items()}
    return ReleaseSettings(**words, tags=tuple(filter(None, map(str.strip, tags.split(",")))), rights=rights)


def save_feedback(answers: Sequence[Answer], project: Path | None) -> list[str]:
    """Save what testers reported with the run's project; returns what to say of it."""
    if not answers:
        return []
    if project is None:
        return ["The feedback is not saved: the run belongs to no bootstrap project."]
    return [say_saved(add_feedback(project, answers), len(answers), project)]


def released_path(lora: str, run: Any) -> Path:
    """The file or the run's folder that is meant. Raises UserError if both are given, or neither."""
    if lora != LINKED_RUN:
        if run is not None:
            raise UserError(f"both a run and the LoRA {lora!r} are given; choose {LINKED_RUN!r}, or remove the link.")
        return paths.lora_file(lora)
    if run is None:
        raise UserError("no run is linked; link one, or choose a LoRA from the list.")
    return Path(run.folder)
