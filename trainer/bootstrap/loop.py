"""The bootstrap loop: one image → crops → style LoRA → generate → curate → retrain → … → character LoRA.

The stages of seed guide 000, with the guards of the science notes (section 2): real crops are at least a third of every
round's samples, every LoRA is trained from the base, likeness is measured against the original crops, and the loop is
at most two generations deep. Every stage reuses what is already on disk, so the same command continues after a kill and
reuses a finished project.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..captions.views import ViewPrompt, showcase
from ..common.events import Event, Events, Interrupted, Warned
from ..common.files import file_hash, write_json
from ..datasets.dataset import Dataset
from ..measures.eyes import Likeness, open_eye
from ..measures.likeness import anchor_pixels, likeness_to, tag_recall
from ..measures.remembered import remember_figures
from ..measures.surprise import find_surprising, surprise
from ..memory.preflight import fitted
from ..models.backbone import Backbone
from ..models.sampler import Sampler
from ..pictures.images import open_image, pixel_hash
from ..statements.consent import Statement, save_statement
from ..sweeps.cells import PROMPT, STRENGTH, Axis, Choice, Sweep
from ..sweeps.draw import lora_sweep, run_sweep
from ..sweeps.sheets import write_sheets
from ..training.events import Finished
from ..training.loop import train
from ..training.presets import plan_training
from ..training.runs import read_losses
from .candidates import Lineage, PictureMaker, Stopped, picture_seed
from .config import MARKS, BootstrapConfig
from .curation.curate_round import FIGURES_FILE, curate_round
from .curation.redrawn import MarksLora, MarksPainter
from .curation.round_figures import RoundFigures, alarm
from .events import BootstrapFinished, StageFinished, StageStarted
from .marked import LONGER, SETTINGS as MARKED, framings_without, mark_crops, style_round
from .planning.view_plan import Source, lineage_of, plan_views
from .project import ProjectRecord, StageRecord, now, open_project
from .repairs import list_wished
from .report import write_report
from .rounds import REFERENCE, KeptCandidate, Project
from .stages import STAGES, list_stages
from .status import marks_run, style_run
from .training_sets import for_character, make_crops, round_dataset

SHOWCASE_COUNT = 5
GRID_ROUND = 99
"""Round number of the grid, wherever the seed of an image depends on its round."""


@dataclass(frozen=True)
class _Outcome:
    """The result of a stage's work."""

    value: Any
    summary: str
    reused: bool
    facts: Mapping[str, Any] = field(default_factory=dict)


Work = Generator[Event, None, _Outcome]
"""A stage's work: yields events, and returns its outcome."""


def run_bootstrap(config: BootstrapConfig, root: str | Path, *, backbone: Backbone | None = None,
                  load: Callable[[str], Backbone] | None = None,
                  choose_eye: Callable[[str, str | None, torch.device], Likeness | None] = open_eye,
                  should_stop: Callable[[], bool] = lambda: False, statement: Statement | None = None) -> Events:
    """Run a project under `root` (`output`), yielding events; the last is BootstrapFinished, or Interrupted.

    Args:
        backbone: the loaded base; None loads `config.base`, by `load` if given.
        choose_eye: called with the base, the folder of a likeness model (None if not given) and the device; returns
            what measures likeness, or None to leave likeness unmeasured.
        should_stop: called after every training step and every batch of images. If it returns true, the run ends and
            everything made so far stays.
        statement: what is stated about consent and rights; None leaves the project's own as it is.

    Raises:
        UserError: for an image, base or setting that cannot work, or a name that belongs to another image's project.
    """
    picture = open_image(Path(config.picture).expanduser())  # a bad image is reported before a model is loaded
    record = open_project(Path(root) / "bootstrap" / config.name, config.to_dict(), pixel_hash(picture))
    if backbone is None:
        from ..backends.diffusers import load_backbone

        backbone = (load or load_backbone)(config.base)
    eye = choose_eye(config.base, config.likeness or None, backbone.device)
    yield from _Bootstrap(config, Path(root), record, backbone, eye, should_stop).run(statement or Statement())


class _Bootstrap:
    def __init__(self, config: BootstrapConfig, root: Path, record: ProjectRecord, backbone: Backbone,
                 eye: Likeness | None, should_stop: Callable[[], bool]) -> None:
        self.config, self.root, self.record = config, root, record
        self.backbone, self.eye, self.should_stop = backbone, eye, should_stop
        self.project = Project(record.folder, config, backbone.family.name)
        self.roles, self.depth = self.project.roles, self.project.depth
        self.sampler = Sampler.of(backbone, steps=config.sample_steps, cfg=config.cfg)
        self.pictures = PictureMaker(backbone, self.sampler, should_stop)
        self.style_loras: dict[str, Path] = {}
        self.stage = ""
        self.visited: list[str] = []

    # -- the order of things -------------------------------------------------------------------------------------

    def run(self, statement: Statement) -> Events:
        self.record.save()
        stated, problem = save_statement(self.record.folder, statement)
        yield from map(Warned, filter(None, (*stated.warnings, problem)))  # the report has them from the file
        try:
            with closing(self._run()) as events:
                for event in events:
                    self._note_warning(event)
                    yield event
        except Stopped:
            self.record.save()
            yield Interrupted(self.stage)

    def _note_warning(self, event: Event) -> None:
        """Save a warning for the report. Why the loop stopped is not saved here; the report states it separately."""
        if isinstance(event, Warned) and event.message != self.record.stopped_because:
            self.record.note(event.message)

    def _run(self) -> Events:
        crops = yield from self._do("crops", self._crops())
        reference = yield from self._do("reference", self._reference())
        dataset = crops
        for number in range(1, self.depth + 1):
            grown = yield from self._round(number, dataset, crops, reference)
            if self.record.stopped_because:
                break
            dataset = grown
        lora = yield from self._do("character", self._character(dataset), count=len(dataset))
        grid = yield from self._do("grid", self._grid(lora, crops))
        report = yield from self._do_at_once("report", self._report)
        self.record.result = {"lora": self._relative(lora), "grid": self._relative(grid.sheet),
                               "report": self._relative(report)}
        self.record.save()
        yield BootstrapFinished(self.record.folder, lora, report, grid.sheet, self.record.stopped_because)

    def _round(self, number: int, dataset: Dataset, crops: Dataset,
               reference: Tensor) -> Generator[Event, None, Dataset]:
        """Grow the dataset once. Returns the larger dataset; if the loop must stop, `stopped_because` is set."""
        lora = yield from self._train_style(number, dataset, reference)
        self.style_loras[file_hash(lora)] = lora
        paths = yield from self._do("candidates", self._candidates(number, lora), number)
        count = len(paths) + len(self.project.round(number).carried)
        kept = yield from self._do("curate", self._curate(number, crops, reference), number, count)
        wanted = self.config.targets[number] - len(crops)
        self.record.stopped_because = _stop_reason(number, alarm(self.record.rounds, wanted), len(dataset))
        if self.record.stopped_because:
            yield Warned(self.record.stopped_because)
            return dataset
        if number == self.depth and self.config.redraw_marks:
            kept = yield from self._do("marks", self._marks(kept, crops, reference))
        return (yield from self._do_at_once("dataset", lambda: self._dataset(number, kept), number,
                                            len(kept) + len(crops)))

    def _train_style(self, number: int, dataset: Dataset, reference: Tensor) -> Generator[Event, None, Path]:
        marked: Dataset | None = None
        if self.config.style_on == MARKS:
            marked, why = self._mark_crops(self.project.crops(), reference)
            if why:
                yield Warned(f"{why} The style LoRAs are trained on whole images.")
        work = self._style(style_round(self.project, number) if marked else number, marked or dataset,
                           MARKED if marked else {})
        return (yield from self._do("style", work, number, len(marked or dataset)))

    def _do(self, key: str, work: Work, number: int = 0, count: int | None = None) -> Generator[Event, None, Any]:
        """Run one stage: report it, time it and record it in project.json. Returns the value of its outcome.

        Args:
            number: its round; 0 for a stage outside the rounds.
            count: how many images it is about, for its title; None if not known or not shown.
        """
        stage = self._begin(key, number, count)
        yield stage
        started = time.monotonic()
        outcome = yield from work
        yield self._finish(stage, outcome, time.monotonic() - started)
        return outcome.value

    def _do_at_once(self, key: str, work: Callable[[], _Outcome], number: int = 0,
                    count: int | None = None) -> Generator[Event, None, Any]:
        """The same, for work that yields no events."""
        stage = self._begin(key, number, count)
        yield stage
        started = time.monotonic()
        outcome = work()
        yield self._finish(stage, outcome, time.monotonic() - started)
        return outcome.value

    def _begin(self, key: str, number: int, count: int | None) -> StageStarted:
        name, title = STAGES[key].name_and_title(number, count)
        self.stage = name
        self.visited.append(name)
        order = list_stages(self.depth, self.config.redraw_marks)
        return StageStarted(name, title, order.index((STAGES[key], number)) + 1, len(order))

    def _finish(self, stage: StageStarted, outcome: _Outcome, seconds: float) -> StageFinished:
        self.record.record_stage(StageRecord(stage.name, stage.title, outcome.summary, round(seconds, 2), now(),
                                              outcome.facts), outcome.reused)
        return StageFinished(stage.name, outcome.summary, seconds, outcome.reused)

    def _relative(self, path: Path) -> str:
        return path.resolve().relative_to(self.root.resolve()).as_posix()

    # -- stages --------------------------------------------------------------------------------------------------

    def _crops(self) -> Work:
        picture = Path(self.config.picture).expanduser()
        made = make_crops(self.project, open_image(picture), picture.stem)
        if len(made.dataset) < self.config.targets[0]:
            yield Warned(made.summary)
        for line in self.roles.warnings:
            yield Warned(line)
        return _Outcome(made.dataset, made.summary, made.reused, {"folder": self._relative(self.project.crops_folder)})

    def _reference(self) -> Work:
        folder = self.record.folder / "reference"
        paths, reused = yield from self.pictures.make("base", folder, plan_views(self.project, REFERENCE).views)
        summary = f"{len(paths)} images"
        return _Outcome(self.pictures.pixels(paths), summary, reused, {"folder": self._relative(folder)})

    def _style(self, number: int, dataset: Dataset, settings: Mapping[str, Any]) -> Work:
        return self._train(style_run(self.project.name, number), "style", dataset, {**settings, **self.config.style},
                           {"project": self.config.name, "round": number})

    def _marks(self, kept: Sequence[KeptCandidate], crops: Dataset, reference: Tensor) -> Work:
        marked, why = self._mark_crops(crops, reference)
        if marked is None or self.eye is None:
            why = why or "What is drawn has to be checked by an eye, and this base has none."
            yield Warned(f"{why} The marks are not drawn into the kept images.")
            return _Outcome(kept, "none", False)
        trained = yield from self._train(marks_run(self.project.name), "style", marked, {**MARKED, **self.config.style},
                                         {"project": self.config.name}, LONGER)
        folder, marks = self.record.folder / "marked", MarksLora(trained.value, framings_without(crops, marked))
        painter = MarksPainter(self.pictures, folder, self.style_loras, self.config.curve, marks, self.eye,
                               self._anchors(crops))
        redrawn = yield from painter.redraw(kept)
        return _Outcome(redrawn.images, f"into {redrawn.taken} of {len(kept)} images ({trained.summary})",
                        trained.reused and redrawn.reused, {**trained.facts, "folder": self._relative(folder)})

    def _mark_crops(self, crops: Dataset, reference: Tensor) -> tuple[Dataset | None, str]:
        """As `mark_crops`: by patches, and by what surprises the base."""
        anchors = self._anchors(crops)
        prompts = [view.text for view in plan_views(self.project, REFERENCE).views]
        with remember_figures(self.project.round(REFERENCE).candidates_folder / FIGURES_FILE):
            surprising = find_surprising(surprise(self.backbone, anchors, [sample.caption for sample in crops]),
                                         surprise(self.backbone, reference, prompts))
        return mark_crops(self.project, anchors, reference, surprising)

    def _character(self, dataset: Dataset) -> Work:
        identity = self.roles.identity
        return self._train(self.config.name, "character", for_character(dataset, self.project), self.config.character,
                           {"project": self.config.name, "absorbed": list(identity)})

    def _train(self, name: str, kind: str, dataset: Dataset, settings: Mapping[str, Any],
               lineage: dict[str, Any], longer: int = 1) -> Work:
        """`longer`: how many times as many steps as are planned."""
        config = plan_training(self.backbone.family, kind, {
            "name": name, "seed": self.config.seed, "data.trigger": self.config.trigger, "data.upscale": True,
            **settings}, dataset).config
        config = config.replace(steps=longer * config.steps)
        finished = None
        events = train(self.backbone, dataset, config, self.root / "loras", lineage=lineage,
                       should_stop=self.should_stop)
        for event in fitted(events, self.backbone, config):
            finished = event
            yield event
        if not isinstance(finished, Finished) or finished.stopped:
            raise Stopped
        losses = [loss for _, loss in read_losses(finished.path.parent)]
        tail = losses[-max(1, len(losses) // 5) :]
        loss = f", loss {sum(tail) / len(tail):.4f}" if tail else ""
        facts = {"lora": self._relative(finished.path), "run": self._relative(finished.path.parent),
                 "steps": config.steps, "pictures": len(dataset)}
        return _Outcome(finished.path, f"{config.steps} steps{loss}", finished.reused, facts)

    def _candidates(self, number: int, lora: Path) -> Work:
        views = plan_views(self.project, number).views
        folder = self.record.folder / f"round_{number}" / "candidates"
        paths, reused = yield from self.pictures.make(f"round {number}", folder, views, number=number, lora=lora,
                                                      strengths=self.config.candidate_strengths,
                                                      curve=self.config.curve)
        again = yield from self._draw_again(number, lora)
        paths += [path for path in self.project.round(number).list_candidates() if Lineage.read(path).asked_for]
        return _Outcome(paths, f"{len(paths)} images", reused and not again, {"folder": self._relative(folder)})

    def _draw_again(self, number: int, lora: Path) -> Generator[Event, None, list[Path]]:
        """Draw what a person asked for in the gallery."""
        round_, curve = self.project.round(number), self.config.curve
        strengths, words = self.config.candidate_strengths, curve.text if curve else ""
        asked = [wished.lineage(lineage_of(round_, wished.view, Source(
                     lora, strengths[wished.view.index % len(strengths)], "", curve=words)), wished.wish.strength)
                 for wished in list_wished(round_)]
        return (yield from self.pictures.make_again(f"round {number} again", round_.candidates_folder, asked, lora,
                                                    curve))

    def _curate(self, number: int, crops: Dataset, reference: Tensor) -> Work:
        round_, wanted = self.project.round(number), self.config.targets[number] - len(crops)
        done = curate_round(round_, wanted=wanted, size=self.sampler.measured_size, reference=reference, eye=self.eye,
                            settings=self.config.curation)
        self.record.record_figures(done.figures)
        for note in done.curation.notes:
            yield Warned(f"Round {number}: {note}")
        return _Outcome(done.kept, curation_summary(done.figures), done.reused,
                        {"decisions": self._relative(round_.decisions_file)})

    def _dataset(self, number: int, kept: Sequence[KeptCandidate]) -> _Outcome:
        round_ = self.project.round(number)
        made = round_dataset(round_, kept)
        return _Outcome(made.dataset, made.summary, made.reused, {"folder": self._relative(round_.dataset_folder)})

    def _grid(self, lora: Path, crops: Dataset) -> Work:
        words, trigger = self.project.round(self.depth).words, self.config.trigger
        views = showcase(SHOWCASE_COUNT, words.roles, words.vocabulary, trigger)
        choices = [Choice(text, {"prompt": text, "seed": picture_seed(self.config.seed, GRID_ROUND, row)})
                   for row, text in enumerate(words.prompt(view, trigger) for view in views)]
        sweep = lora_sweep(self.record.folder / "grid", self.backbone, self.sampler, [lora],
                           strengths=self.config.strengths, prompts=Axis(PROMPT, tuple(choices)),
                           title=f"{self.config.trigger}: LoRA strength")
        missing = sweep.missing()
        yield from self._until_stopped(run_sweep(self.backbone, sweep, [lora], self.sampler))
        sheet = write_sheets(sweep)[0]
        scores = self._grid_scores(sweep, views, crops)
        write_json(sweep.folder / "scores.json", scores)
        best = max(scores, key=lambda row: row["likeness"], default=None)
        summary = f"{len(views)} prompts x {len(self.config.strengths)} strengths"
        if best:
            summary += f", closest likeness at {best['strength']:g}"
        return _Outcome(sweep, summary, not missing, {"sheet": self._relative(sheet), "scores": scores})

    def _grid_scores(self, sweep: Sweep, views: Sequence[ViewPrompt], crops: Dataset) -> list[dict[str, float]]:
        """For each strength, the likeness to the original crops and the recall of the prompts' tags; [] without an
        eye."""
        if self.eye is None:
            return []
        anchors, rows = self.eye.embed(self._anchors(crops)), []
        for column, choice in enumerate(sweep.choices(STRENGTH)):
            cells = [sweep.cell(strength=column, prompt=row) for row in range(len(views))]
            pixels = self.pictures.pixels([sweep.picture(cell) for cell in cells if cell])
            recall = tag_recall(pixels, views, self.eye, self.config.curation.tag_threshold)
            row = {"strength": choice.facts["strength"],
                   "likeness": likeness_to(self.eye.embed(pixels), anchors).mean().item()}
            rows.append(row if recall is None else {**row, "tag_recall": recall.nanmean().item()})
        return rows

    def _report(self) -> _Outcome:
        # stages of an earlier run that this run did not reach do not belong in the report
        self.record.stages = {name: record for name, record in self.record.stages.items() if name in self.visited}
        path = write_report(self.record, self.root)
        return _Outcome(path, path.name, False)

    def _anchors(self, crops: Dataset) -> Tensor:
        return anchor_pixels(crops, self.sampler.measured_size)

    def _until_stopped(self, events: Events) -> Events:
        """Pass events on. Raises Stopped if asked to stop, checking before the first event and after each."""
        self._raise_if_stopped()
        for event in events:
            yield event
            self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self.should_stop():
            raise Stopped


def _stop_reason(number: int, reason: str, kept: int) -> str:
    if not reason:
        return ""
    return (f"The loop stopped after round {number}: {reason}. The character LoRA is trained on the {kept} images of "
            "the round before. Nothing that was made is deleted.")


def curation_summary(figures: RoundFigures) -> str:
    """A round's figures in one line, without those that were not measured."""
    parts = [f"{'proposed' if figures.proposed else 'kept'} {figures.kept} of {figures.candidates}"]
    for name, label in (("likeness", "likeness"), ("drift", "drift"), ("diversity", "diversity"), ("burn", "burn")):
        value = getattr(figures, name)
        parts += [f"{label} {value:.2f}"] if value is not None else []
    parts += [f"the base alone {figures.base_likeness:.2f}"] if figures.base_likeness is not None else []
    return ", ".join(parts)
