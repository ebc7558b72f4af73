"""Nodes that choose from a round's candidates, by hand in the gallery or automatically, and build the next dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host import menu, paths
from ..host.drawing.pictures import to_batch
from ..host.events import is_linked, tell_project
from ..host.eyes import choose_eye, tag_reader
from ..host.paths import output_path
from ..host.shown_text import show_beside_panel
from ..host.working import show_report
from ..trainer.bootstrap.candidates import Lineage
from ..trainer.bootstrap.config import CHOICES, EVEN, CurationSettings
from ..trainer.bootstrap.curation.curate_round import curate_round
from ..trainer.bootstrap.curation.round_figures import RoundFigures, alarm
from ..trainer.bootstrap.loop import curation_summary
from ..trainer.bootstrap.picks import Picks
from ..trainer.bootstrap.project import ProjectRecord, note_stage
from ..trainer.bootstrap.rounds import AUTO, MANUAL, REFERENCE, KeptCandidate, Project, Round
from ..trainer.bootstrap.stages import STAGES
from ..trainer.bootstrap.status import style_run
from ..trainer.bootstrap.training_sets import for_character, round_dataset
from ..trainer.common.errors import UserError
from ..trainer.common.files import file_hash
from ..trainer.datasets.dataset import Dataset
from ..trainer.models.sampler import measured_size
from ..trainer.pictures.images import load_pixels, open_image
from ..trainer.tagging.tagger import SANDBOX, Tagger
from .inputs import clip_vision_input, tagger_input
from .schema import node_schema
from .sockets import BootstrapProjectSocket, LoraDataset

FROM_FILE = "from file"
MODES = (MANUAL, AUTO, FROM_FILE)
PURPOSES = ("style", "character")
NEXT_SLOTS = (3, 4, 5)
"""Slots of Curate Images' outputs that are for the next training."""


class CurateImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_CurateImages", display_name="Curate Images", category=menu.BOOTSTRAP,
            description="Chooses the good candidates of a round. In manual mode you pick them in the gallery, and "
                        "everything downstream waits until you have kept enough. Pick, then press Run again.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                BootstrapProjectSocket.Input("project", tooltip="The project from Save Candidates."),
                io.Int.Input("round", default=1, min=1, max=9, tooltip="The round whose candidates you choose from."),
                io.Combo.Input("mode", options=list(MODES), default=MANUAL, tooltip=(
                    "manual: you pick in the gallery. auto: the best images that pass the gates, spread over the "
                    "views; what you kept or rejected by hand takes precedence. from file: follow decisions.json and "
                    "picks.json without measuring the images again.")),
                io.Int.Input("keep", default=0, min=0, max=10_000, tooltip=(
                    "Number of images to train on, including the crops. 0 uses the project's target.")),
                io.Boolean.Input("stop_on_alarm", default=True, tooltip=(
                    "Also wait if the kept images have drifted from the original, become too alike, or are burnt.")),
                tagger_input(),
                clip_vision_input(),
                io.Combo.Input("generators", options=list(CHOICES["generators"]), default=EVEN, optional=True,
                               tooltip=(
                    "even: each generator of the round gets the same share of the picks, so that the look of one does "
                    "not fill the set. free: the best images, whatever drew them.")),
                io.Boolean.Input("match_colours", default=False, optional=True, tooltip=(
                    "Keep images of an edit model whose colours have shifted, and match their colours to the crops "
                    "when the dataset is built.")),
                io.Combo.Input("faces", options=list(CHOICES["faces"]), default="auto", optional=True, tooltip=(
                    "Compare faces apart from the whole image. auto: if the original's tags say that it is a "
                    "photograph.")),
            ],
            outputs=[
                BootstrapProjectSocket.Output(display_name="project", tooltip=(
                    "The project, for Round Dataset and the next round.")),
                io.Image.Output(display_name="images", is_output_list=True, tooltip="The kept images, one by one."),
                io.String.Output(display_name="report"),
                LoraDataset.Output(display_name="dataset", tooltip=(
                    "The training set of the next LoRA, as Round Dataset builds it: the next round's style LoRA, or "
                    "after the last round the character LoRA.")),
                io.String.Output(display_name="run_name", tooltip="The next run's name, for Train LoRA's name."),
                io.String.Output(display_name="trigger", tooltip="The trigger, for Train LoRA's trigger."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, round, mode, **_) -> Any:
        if round is None:
            return float("nan")
        files = ("picks.json", "decisions.json") if mode == FROM_FILE else ("picks.json",)
        if not is_linked(cls.hidden.unique_id, NEXT_SLOTS):
            return [_fingerprint(round, files)]
        return [_fingerprint(round, files), *(_count_kept(number) for number in range(1, round))]

    @classmethod
    def execute(cls, project, round, mode, keep, stop_on_alarm, tagger, clip_vision=None, generators=EVEN,
                match_colours=False, faces="auto") -> io.NodeOutput:
        round_, target = project.round(round), keep or project.target(round)
        reader = tag_reader(tagger, cls.hidden.unique_id)
        settings = replace(project.config.curation, generators=generators, match_colours=match_colours, faces=faces)
        outcome = curate_by_mode(round_, mode, target, stop_on_alarm, clip_vision, reader, settings)
        values = outcome_values(project, outcome)
        following, line = (ExecutionBlocker(None),) * 3, ""
        if is_linked(cls.hidden.unique_id, NEXT_SLOTS):  # a dataset that nobody takes is not written
            following, line = next_training(project, round, outcome)
        show_beside_panel("\n".join(filter(None, (outcome.report, line))), cls.hidden.unique_id,
                          "\n".join(filter(None, (*outcome.unseen, line))))
        tell_project(project.name)
        return io.NodeOutput(*values, *following, ui=outcome_ui(round_, target, outcome))


class RoundDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_RoundDataset", display_name="Round Dataset", category=menu.BOOTSTRAP,
            description="Builds the training set after a round: the crops, repeated so that they stay at least a third "
                        "of the samples, and the images kept in all rounds, cropped, flipped and tagged as you "
                        "decided.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                BootstrapProjectSocket.Input("project", tooltip=(
                    "The project from Curate Images, or from Bootstrap Project for round 0.")),
                io.Int.Input("round", default=1, min=0, max=9, tooltip="The round. 0 uses the crops alone."),
                io.Combo.Input("purpose", options=list(PURPOSES), default="style", tooltip=(
                    "style: captions keep every tag, so that each can be asked for. character: the character's own "
                    "tags are left out, and the trigger comes to stand for them.")),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset", tooltip="The dataset, for Train LoRA."),
                io.String.Output(display_name="run_name", tooltip="The run's name, for Train LoRA's name."),
                io.String.Output(display_name="trigger", tooltip="The trigger, for Train LoRA's trigger."),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, round, **_) -> Any:
        return float("nan") if round is None else [_count_kept(number) for number in range(1, round + 1)]

    @classmethod
    def execute(cls, project, round, purpose) -> io.NodeOutput:
        made, report = training_set(project, round, purpose)
        show_report(report, cls.hidden.unique_id)
        tell_project(project.name)
        return io.NodeOutput(*made, report)


# -- choosing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """The state of a round.

    Attributes:
        count: images to train on, including the crops.
        held: why everything downstream has to wait; "" if it does not.
        unseen: lines about the round as a whole, which the gallery does not show.
    """

    kept: tuple[KeptCandidate, ...]
    count: int
    headline: str
    held: str
    notes: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def report(self) -> str:
        return "\n".join((self.held or self.headline, *self.notes))


def outcome_values(project: Project, outcome: Outcome) -> tuple[Any, Any, Any]:
    """(project, images, report); a round that is held blocks everything downstream."""
    if outcome.held:
        return (ExecutionBlocker(None),) * 3
    return project, [to_batch(kept.pick.apply_to(open_image(kept.path))) for kept in outcome.kept], outcome.report


def next_training(project: Project, number: int, outcome: Outcome) -> tuple[tuple[Any, Any, Any], str]:
    """((dataset, run name, trigger) of the LoRA after a round, a report of them); a round that is held, or that keeps
    no image, blocks what would train."""
    if outcome.held or not outcome.kept:
        return (ExecutionBlocker(None if outcome.held else no_kept_line(project, number)),) * 3, ""
    return training_set(project, number, "character" if number >= project.depth else "style")


def outcome_ui(round_: Round, target: int, outcome: Outcome) -> dict[str, Any]:
    """What the gallery in the node reads of a finished run."""
    return {"lora_bootstrap": [{
        "project": round_.project.name, "round": round_.number, "revision": round_.picks.revision,
        "kept": outcome.count, "target": target, "held": bool(outcome.held),
        "message": outcome.held or outcome.headline}]}


def curate_by_mode(round_: Round, mode: str, target: int, stop_on_alarm: bool, clip_vision: Any = None,
                   tagger: Tagger | None = None, settings: CurationSettings | None = None) -> Outcome:
    """Curate a round. Raises UserError if there is nothing to choose from."""
    if not round_.pictures():
        raise UserError(f"round {round_.number} of {round_.project.name!r} has no candidates. Link the project from "
                        "Save Candidates, which draws them.")
    crops = len(round_.project.crops())
    if mode == FROM_FILE:
        return _from_files(round_, crops)
    done = _measure_round(round_, mode, target - crops, clip_vision, tagger,
                          settings or round_.project.config.curation)
    record = ProjectRecord.load(round_.project.folder)
    record.record_figures(done.figures)
    count, wanted = crops + len(done.kept), target - crops
    warning = alarm([figures for figures in record.rounds if figures.round <= round_.number], wanted)
    held, missing = "", mode == MANUAL and count < target
    if missing:
        held = f"{count} of {target} kept: pick {target - count} more in the gallery, then press Run."
    elif warning and stop_on_alarm:
        held = f"Stopped: {warning}. Change the picks, or turn stop_on_alarm off to continue anyway."
    record.stopped_because = warning if held and warning else ""
    note_stage(record, *STAGES["curate"].name_and_title(round_.number, done.figures.candidates),
               curation_summary(done.figures), done.reused, {"decisions": output_path(round_.decisions_file)})
    known = tuple(filter(None, [done.figures.known_before]))
    alarms = (f"Alarm: {warning}.",) if warning and not held else ()
    stopped = (held,) if held and not missing else ()
    return Outcome(done.kept, count, _headline(count, target, done.figures), held,
                   (*known, *done.curation.notes, *alarms), (*stopped, *known, *alarms))


def _measure_round(round_: Round, mode: str, wanted: int, clip_vision: Any, tagger: Tagger | None,
                   settings: CurationSettings) -> Any:
    eye = choose_eye(round_.project.config.base == SANDBOX, clip_vision, tagger)
    first = Lineage.read(round_.pictures()[0])
    size = measured_size(first.width, first.height)
    base = round_.project.round(REFERENCE).list_candidates()
    if tagger is not None:
        settings = replace(settings, tag_threshold=tagger.thresholds.get("general", settings.tag_threshold))
    return curate_round(round_, wanted=max(0, wanted), size=size, eye=eye, settings=settings, mode=mode,
                        reference=load_pixels(base, size) if base else None)


def _from_files(round_: Round, crops: int) -> Outcome:
    found = round_.read_decisions()
    if found.values is None and not round_.picks_file.is_file():
        raise UserError(f"round {round_.number} has neither decisions.json nor picks.json in {round_.folder.name}. Use "
                        "manual or auto first, or write one of them.")
    kept = tuple(round_.list_kept(found))
    if not kept:
        raise UserError(f"decisions.json and picks.json of round {round_.number} keep no image. Keep some in the "
                        "gallery, or choose auto.")
    return Outcome(kept, crops + len(kept), f"{crops + len(kept)} kept, as the files say", "")


def _headline(count: int, target: int, figures: RoundFigures) -> str:
    measured = {"likeness": figures.likeness, "drift": figures.drift, "diversity": figures.diversity,
                "burn": figures.burn, "tags seen": figures.tag_recall,
                "mark": figures.mark}
    parts = [f"{name} {'not measured' if value is None else format(value, '.2f')}" for name, value in measured.items()]
    return f"{count} of {target} kept · {' · '.join(parts)}"


# -- datasets ----------------------------------------------------------------------------------------------------------


def training_set(project: Project, number: int, purpose: str) -> tuple[tuple[Dataset, str, str], str]:
    """((dataset, run name, trigger) for Train LoRA after a round, a report of the dataset).

    Raises UserError if nothing was kept in the round.
    """
    dataset, report = dataset_of(project, number)
    if purpose == "character":
        dataset = for_character(dataset, project)
        report += f"\nabsorbed by the trigger: {', '.join(project.roles.identity) or 'nothing'}"
    name = project.name if purpose == "character" else style_run(project.name, number + 1)
    return (dataset, name, project.config.trigger), report


def no_kept_line(project: Project, number: int) -> str:
    return f"nothing is kept in round {number} of {project.name!r}. Pick in the gallery of Curate Images first."


def dataset_of(project: Project, number: int) -> tuple[Dataset, str]:
    """(the training set after a round, a line about it). Raises UserError if nothing was kept in it."""
    if number == REFERENCE:
        crops = project.crops()
        return crops, f"{len(crops)} crops"
    round_ = project.round(number)
    kept = round_.list_kept()
    if not kept:
        raise UserError(no_kept_line(project, number))
    made = round_dataset(round_, kept)
    note_stage(ProjectRecord.load(project.folder), *STAGES["dataset"].name_and_title(number, len(made.dataset)),
               made.summary, made.reused, {"folder": output_path(round_.dataset_folder)})
    return made.dataset, made.summary


# -- what changes between two Runs -------------------------------------------------------------------------------------


def _rounds(number: int) -> Iterator[Path]:
    """The folders of that round in all projects, because which project is meant is known only when the node runs."""
    return (path for path in sorted(paths.projects_root().glob(f"*/round_{int(number)}")) if path.is_dir())


def _fingerprint(number: int, files: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for folder in _rounds(number):
        for name in files:
            if (folder / name).is_file() and (meaning := _meaning(folder / name)):
                digest.update(f"{folder.parent.name}/{name} {meaning}\n".encode())
        made = sorted(path.name for path in folder.glob("candidates/*.json"))
        digest.update(f"{folder.parent.name} {made}\n".encode())
    return digest.hexdigest()


def _meaning(file: Path) -> str:
    """A hash of what a file decides, "" for nothing. For picks, notes and history do not count."""
    try:
        return Picks.load(file).fingerprint if file.name == "picks.json" else file_hash(file)
    except (UserError, OSError):
        return "unreadable"


def _count_kept(number: int) -> str:
    digest = hashlib.sha256()
    for folder in _rounds(number):
        try:
            kept = Project.load(folder.parent).round(number).list_kept()
        except UserError:
            continue
        rows = [[item.path.stem, file_hash(item.path), item.caption, item.pick.recipe] for item in kept]
        digest.update(f"{folder.parent.name} {json.dumps(rows)}\n".encode())
    return digest.hexdigest()
