"""What views of an edit model bring, measured with one of the drawn world: the edit painter.

`python -m lora_bootstrap.bench.edit_painter --characters 1 --wrong 5 15 30 --marks 50 80 95` writes
bench/results/edit_painter.md and .json after each arm; what is there already is not measured again.

The painter draws the asked view of the character. Each trait is wrong with a chance of p, and the mark that no tag
names is kept with a chance of q. The arms. "loop" is the loop as it is, without the painter. "edit only" picks 36 of 96
painted views. "edit + loop" picks 12 of 48 painted views, trains the style LoRA on them and the crops, and picks the
rest of the 40 from these and the 96 views that this LoRA draws. The gates, the picks, the character stage, the prompts,
the seeds and the judge are those of bench/bootstrap.py.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from ..sandbox import world
from ..sandbox.judge import Judge, load_judge
from ..trainer.backends.diffusers import load_backbone
from ..trainer.bootstrap.candidates import PictureMaker
from ..trainer.bootstrap.config import BootstrapConfig
from ..trainer.bootstrap.curation.curate_round import curate_round
from ..trainer.bootstrap.loop import run_bootstrap
from ..trainer.bootstrap.planning.references import ORIGINAL
from ..trainer.bootstrap.planning.view_plan import Source, keep_candidates, lineage_of, plan_views
from ..trainer.bootstrap.project import open_project
from ..trainer.bootstrap.rounds import REFERENCE, Project
from ..trainer.bootstrap.training_sets import for_character, make_crops, round_dataset
from ..trainer.cli.terminal.options import parse_settings
from ..trainer.common.files import read_json, write_json
from ..trainer.datasets.dataset import Dataset, load_folder
from ..trainer.measures.eyes import open_eye
from ..trainer.models.sampler import Sampler, save_picture
from ..trainer.pictures.images import pixel_hash
from ..trainer.training.events import Finished
from ..trainer.training.loop import train
from ..trainer.training.presets import preset_config
from .bootstrap import TRIGGER, Arm, draw_scenes, figures, unseen_scenes
from .report import write_result

TITLE = "Views of an edit model: what each arm draws on unseen views (sandbox judge, percent)"
PAINTER = "edit painter"
TARGETS = {"edit only": (4, 40), "edit + loop": (4, 16, 40)}
CANDIDATES = {"edit only": (96,), "edit + loop": (48, 96)}


@dataclass(frozen=True)
class Painter:
    """An edit model of the drawn world.

    Attributes:
        wrong: chance in 0..1 that a trait is drawn wrong.
        marks: chance in 0..1 that the mark is kept.
    """

    wrong: float
    marks: float

    def paint(self, character: world.Character, view: dict[str, str], seed: int, side: int) -> Image.Image:
        """The asked view of the character, as this model draws it."""
        return world.draw(world.Scene(self.misread(character, random.Random(f"paint-{seed}")), **view), side)

    def misread(self, character: world.Character, rng: random.Random) -> world.Character:
        """The character with the traits and the mark that are drawn."""
        traits = {name: self._trait(name, getattr(character, name), rng) for name in world.IDENTITY}
        mark = character.signature if rng.random() < self.marks else None
        tailless = mark is not None and mark.kind == "two-coloured tail" and traits["tail"] == "no tail"
        return world.Character(**traits, signature=None if tailless else mark)

    def _trait(self, name: str, tag: str, rng: random.Random) -> str:
        others = [other for other in world.ATTRIBUTES[name] if other != tag]
        return rng.choice(others) if rng.random() < self.wrong else tag


class _Bench:
    """One character at one seed: its projects below `root`, and what is trained on them."""

    def __init__(self, name: str, seed: int, options: argparse.Namespace, backbone: Any, judge: Judge) -> None:
        self.name, self.seed, self.options, self.backbone, self.judge = name, seed, options, backbone, judge
        self.root: Path = options.work
        self.character = world.HELD_OUT[name]
        self.picture = world.draw(world.Scene(self.character), 512)
        self.sampler = Sampler.of(backbone)

    def rows(self, known: Collection[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
        """A row of figures for each arm that is not among the `known` places of the table."""
        loop = self._config("loop", (4, 16, 40), (48, 96))
        for _ in run_bootstrap(loop, self.root, backbone=self.backbone):
            pass
        folder = self.root / "bootstrap" / loop.name
        scenes = unseen_scenes(self.character, folder, self.options.views, self.seed)
        made = [folder / f"round_{number}" / "dataset" for number in (2, 1)]
        data = load_folder(next((path for path in made if path.is_dir()), folder / "crops"))
        if ("loop", "", "") not in known:
            yield self._measure("loop", None, Project(folder, loop, self.backbone.family.name), data, scenes)
        for arm, wrong, marks in product(TARGETS, self.options.wrong, self.options.marks):
            if (arm, wrong, marks) not in known:
                project, data = self._edited(arm, Painter(wrong / 100, marks / 100))
                yield self._measure(arm, (wrong, marks), project, data, scenes)

    def _config(self, name: str, targets: tuple[int, ...], candidates: tuple[int, ...]) -> BootstrapConfig:
        picture = self.root / "pictures" / f"{self.name}.png"
        if not picture.exists():
            save_picture(picture, self.picture)
        return BootstrapConfig(
            picture=str(picture), tags=tuple(world.caption_tags(world.Scene(self.character))), trigger=TRIGGER,
            seed=self.seed, name=f"{self.name}-{self.seed}-{name}", targets=targets, candidates=candidates,
            strengths=(1.0,), style=parse_settings(self.options.set_style),
            character=parse_settings(self.options.set_character))

    def _edited(self, arm: str, painter: Painter) -> tuple[Project, Dataset]:
        """The project of an arm, and its last dataset."""
        name = f"{arm.replace(' + ', '-').replace(' ', '-')}-{painter.wrong * 100:.0f}-{painter.marks * 100:.0f}"
        config = self._config(name, TARGETS[arm], CANDIDATES[arm])
        record = open_project(self.root / "bootstrap" / config.name, config.to_dict(), pixel_hash(self.picture))
        record.save()
        project = Project(record.folder, config, self.backbone.family.name)
        make_crops(project, self.picture, self.name)
        self._paint(project, painter)
        data = self._pick(project, 1)
        if project.depth > 1:
            self._draw_by_lora(project, 2, self._train(f"{config.name}-style", "style", data, config.style))
            data = self._pick(project, 2)
        return project, data

    def _paint(self, project: Project, painter: Painter) -> None:
        round_ = project.round(1)
        for view in plan_views(project, 1).views:
            asked = {axis: tag for axis, tag in view.prompt.view.items() if tag in world.ATTRIBUTES.get(axis, ())}
            planned = lineage_of(round_, view, Source(None, 0.0, f"{PAINTER} {painter}"))
            lineage = replace(planned, generator=PAINTER, reference=ORIGINAL)
            keep_candidates(round_, lineage, [painter.paint(self.character, asked, view.seed, self.sampler.width)])

    def _draw_by_lora(self, project: Project, number: int, lora: Path) -> None:
        maker = PictureMaker(self.backbone, self.sampler, lambda: False)
        for _ in maker.make(f"round {number}", project.round(number).candidates_folder,
                            plan_views(project, number).views, number=number, lora=lora,
                            strengths=project.config.candidate_strengths):
            pass

    def _pick(self, project: Project, number: int) -> Dataset:
        maker = PictureMaker(self.backbone, self.sampler, lambda: False)
        folder = project.round(REFERENCE).candidates_folder
        views = plan_views(project, REFERENCE).views
        for _ in maker.make("base", folder, views):
            pass
        done = curate_round(
            project.round(number), wanted=project.target(number) - len(project.crops()),
            size=self.sampler.measured_size, eye=open_eye("sandbox"),
            reference=maker.pixels([folder / f"r{REFERENCE}-{view.index:03d}.png" for view in views]))
        return round_dataset(project.round(number), done.kept).dataset

    def _train(self, name: str, kind: str, data: Dataset, settings: Any) -> Path:
        config = preset_config(self.backbone.family, kind, {
            "name": name, "seed": self.seed, "data.trigger": TRIGGER, "data.upscale": True, **settings})
        for event in train(self.backbone, data, config, self.root / "loras"):
            if isinstance(event, Finished):
                return event.path
        raise RuntimeError("the training yielded no end")

    def _measure(self, name: str, grid: tuple[float, float] | None, project: Project, data: Dataset,
                 scenes: Sequence[world.Scene]) -> dict[str, Any]:
        lora = self._train(f"{project.name}-character", "character", for_character(data, project),
                           project.config.character)
        arm = Arm(name, "trigger", lora, data)
        drawn = draw_scenes(self.backbone, arm, scenes, self.character, self.seed)
        wrong, marks = grid or ("", "")
        return {"arm": name, "wrong %": wrong, "marks %": marks, "images": len(data),
                **figures(drawn, scenes, data, self.judge)}


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    backbone, judge = load_backbone("sandbox"), load_judge()
    facts = {name: getattr(options, name) for name in ("views", "set_style", "set_character")}
    store = options.work / "edit_painter.json"
    measured = read_json(store) if store.exists() else []
    for name in list(world.HELD_OUT)[: options.characters]:
        for seed in range(options.seeds):
            case = {"character": name, "seed": seed, **facts}
            known = {_place(row) for row in measured if row["case"] == case}
            for row in _Bench(name, seed, options, backbone, judge).rows(known):
                measured.append({"case": case, **row})
                write_json(store, measured)
                print(row, flush=True)
                write_table([row for row in measured if row["case"].items() >= facts.items()], options)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--characters", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--views", type=int, default=48, help="unseen views per arm")
    parser.add_argument("--wrong", type=float, nargs="+", default=[5, 15, 30], metavar="PERCENT")
    parser.add_argument("--marks", type=float, nargs="+", default=[50, 80, 95], metavar="PERCENT")
    parser.add_argument("--set-style", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--set-character", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--work", type=Path, default=Path("output/bench-edit-painter"), help="LoRAs and pictures")
    parser.add_argument("--name", default="edit_painter", help="of the result files")
    return parser.parse_args(argv)


def write_table(measured: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """The mean of each arm and place of the grid over the characters and seeds."""
    places = list(dict.fromkeys(_place(row) for row in measured))
    rows = []
    for place in places:
        mine = [row for row in measured if _place(row) == place]
        means = {name: round(100 * sum(row[name] for row in mine) / len(mine), 1)
                 for name in ("identity", "signature", "prompt", "copied")}
        rows.append({**dict(zip(("arm", "wrong %", "marks %"), place, strict=True)), "cases": len(mine), **means})
    write_result(options.name, TITLE, rows, __doc__.split("The arms. ")[1].strip())


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["arm"], row["wrong %"], row["marks %"]


if __name__ == "__main__":
    main()
