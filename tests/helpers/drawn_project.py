"""A bootstrap project on disk whose candidates are drawn, not sampled: what a person finds after a first Run."""

from __future__ import annotations

from pathlib import Path

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap.config import BootstrapConfig
from lora_bootstrap.trainer.bootstrap.planning.view_plan import Source, keep_candidates, lineage_of, plan_views
from lora_bootstrap.trainer.bootstrap.project import open_project
from lora_bootstrap.trainer.bootstrap.rounds import Project, Round
from lora_bootstrap.trainer.bootstrap.training_sets import make_crops
from lora_bootstrap.trainer.pictures.images import pixel_hash

from .drawings import draw_once

AKANE = world.HELD_OUT["akane"]
TAGS = tuple(world.caption_tags(world.Scene(AKANE)))


def draw_project(root: Path, *, targets=(3, 8, 12), candidates=(12, 16), base="sandbox",
                 name="zqx") -> Project:
    """The project with its crops, below `root` (output/bootstrap)."""
    picture = draw_once(world.Scene(AKANE), 128)
    config = BootstrapConfig(picture="", tags=TAGS, trigger="zqx", name=name, base=base, targets=targets,
                             candidates=candidates)
    open_project(root / name, config.to_dict(), pixel_hash(picture)).save()
    project = Project(root / name, config)
    make_crops(project, picture, "picture")
    return project


def draw_round(project: Project, number: int, side: int = 64, **plan) -> Round:
    """Draw a round's candidates (round 0: the base's own pictures), each as its view says."""
    one = project.round(number)
    for view in plan_views(project, number, **plan).views:
        asked = {axis: tag for axis, tag in view.prompt.view.items() if tag in world.ATTRIBUTES.get(axis, ())}
        lineage = lineage_of(one, view, Source(None, 0.0, "drawn"))
        keep_candidates(one, lineage, [draw_once(world.Scene(AKANE, **asked), side)])
    return one
