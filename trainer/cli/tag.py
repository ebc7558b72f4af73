"""`lora-bootstrap tag`: captions for a folder of images: tag, describe, edit, absorb, count."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from ..captions.tags import split_tags
from ..common.errors import UserError
from ..common.events import Events
from .terminal.console import Console, load_backbone_quietly
from .terminal.options import add_background_option


def add_tag_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", type=Path, required=True, metavar="FOLDER",
                         help="images, with or without .txt captions")
    add_background_option(command)
    command.add_argument("--dry-run", action="store_true", help="show what would change without writing captions")
    for title, add_options in (("tagging", _add_tagger_options), ("sentences", _add_captioner_options),
                               ("editing", _add_edit_options), ("absorbing", _add_absorb_options),
                               ("looking", _add_look_options)):
        add_options(command.add_argument_group(title))


def _add_tagger_options(group: Any) -> None:
    group.add_argument("--tagger", default="", metavar="NAME",
                       help="sandbox, a folder under --taggers, or a path; without it, nothing is tagged")
    group.add_argument("--taggers", type=Path, default=Path("models/taggers"), metavar="FOLDER",
                       help="folder of the taggers, each a folder with model.onnx and its label file (%(default)s)")
    group.add_argument("--download", action="store_true", help="download a published tagger if it is missing")
    group.add_argument("--merge", default="keep",
                       help="what to do with existing captions: keep, replace, append, prepend (%(default)s)")
    group.add_argument("--general", type=float, metavar="X",
                       help="lowest score of a tag to keep; default: the model's own")
    group.add_argument("--character", type=float, metavar="X",
                       help="lowest score of a character's name to keep; default: the model's own")
    group.add_argument("--mcut", action="store_true", help="cut at the widest gap between scores instead")
    group.add_argument("--rating", default="none",
                       help="place of the rating among the tags: none, first, last (%(default)s)")
    group.add_argument("--most", type=int, default=0, metavar="N", help="maximum number of tags; 0: no limit")
    group.add_argument("--batch", type=int, default=8, help="images per batch (%(default)s)")
    group.add_argument("--scores", type=Path, metavar="FILE",
                       help="JSON file to write each image's tags and their scores to")


def _add_captioner_options(group: Any) -> None:
    group.add_argument("--captioner", default="", metavar="NAME",
                       help="a folder under --captioners, or a path; without it, nothing is described")
    group.add_argument("--captioners", type=Path, default=Path("models/captioners"), metavar="FOLDER",
                       help="folder of the captioners, each an image-to-text folder of transformers (%(default)s)")
    group.add_argument("--detail", default="normal",
                       help="length of the description: short, normal, long (%(default)s)")
    group.add_argument("--prompt", default="", help="question or instruction, for models that follow one")
    group.add_argument("--join", default="tags first",
                       help="how to join sentences and tags: 'tags first', 'prose first', replace, keep (%(default)s)")


def _add_edit_options(group: Any) -> None:
    group.add_argument("--trigger", default="", help="word to put first in every caption")
    group.add_argument("--add", default="", metavar="TAGS")
    group.add_argument("--remove", default="", metavar="TAGS")
    group.add_argument("--blacklist", default="", metavar="TAGS", help="tags to remove, with * for anything")
    group.add_argument("--replace", nargs=2, action="append", default=[], metavar=("TAG", "NEW"),
                       help="may be repeated")
    group.add_argument("--pattern", nargs=2, action="append", default=[], metavar=("REGEX", "NEW"),
                       help="regular expression to replace within each tag; may be repeated")
    group.add_argument("--underscores", default="keep",
                       help="how to write spaces in tags: keep, blanks, underscores (%(default)s)")
    group.add_argument("--aliases", action="store_true", help="replace other names of a tag by its usual one")
    group.add_argument("--implications", default="off",
                       help="what to do with tags that another tag implies: off, drop, add (%(default)s)")
    group.add_argument("--alias-file", type=Path, metavar="CSV", help="more aliases")
    group.add_argument("--implication-file", type=Path, metavar="CSV", help="more implications")
    group.add_argument("--order", action="store_true", help="sort tags by class: who, traits, outfit, pose, ... style")
    group.add_argument("--order-by", default="", metavar="ORDER",
                       help="sort tags in another order: 'composition last' (pose, expression, light, clothes, "
                            "background, composition), anima (quality, count, character, series, artist, the rest), "
                            "usual")
    group.add_argument("--drop-noise", action="store_true",
                       help="remove solo, nose, words for quality and ratings, watermarks and other noise of taggers")
    group.add_argument("--wording", default="tags",
                       help="write the captions as tags or sentences, as the base was taught (%(default)s)")
    group.add_argument("--budget", type=int, default=0, metavar="TOKENS",
                       help="most tokens of --base in a caption, such as 75, 150 or 225; drops the least certain tags")


def _add_absorb_options(group: Any) -> None:
    group.add_argument("--absorb", default="", metavar="PURPOSE",
                       help="leave out the tags that the trigger should come to mean: character, style")
    group.add_argument("--share", type=float, default=0.7, metavar="X",
                       help="share of the images that must have a trait for it to be absorbed (%(default)s)")
    group.add_argument("--plan", type=Path, metavar="FILE",
                       help="decisions of --absorb, .txt or .json: followed if the file exists, otherwise written")


def _add_look_options(group: Any) -> None:
    group.add_argument("--statistics", action="store_true",
                       help="show how often each tag occurs, and which come together")
    group.add_argument("--chart", type=Path, metavar="FILE", help=".png file to draw the statistics to")
    group.add_argument("--check-trigger", action="store_true",
                       help="check whether the trigger already means something to --base and to the tagger")
    group.add_argument("--base", default="", metavar="MODEL",
                       help="base model for --budget and --check-trigger: sandbox, a diffusers folder, or a file")


def check_tag(options: argparse.Namespace) -> None:
    if not (options.tagger or options.captioner) and options.merge != "keep":
        raise UserError(f"--merge {options.merge} needs something to merge; give --tagger or --captioner.")


def handle_tag(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..datasets.dataset import load_folder
    from ..tagging.caption_files import write_captions
    from ..tagging.diff import CaptionDiff

    before = load_folder(options.dataset, background=options.background)
    work = _Tagging(options, console, load_backbone_quietly(options.base) if options.base else None)
    after = work.edit(work.describe(work.tag(before)))
    after, plan = work.absorb(after)
    diff = CaptionDiff.between(before, after, work.cuts, work.notes)
    console.say(diff.text(most=200 if options.dry_run else 0) if diff.changes or work.notes else "no caption changed")
    if not options.dry_run:
        work.follow(write_captions(after, before))
    return {"captions": diff.to_dict(), "written": not options.dry_run, "absorbed": plan and list(plan.absorbed),
            **work.report(after)}


class _Tagging:
    """The steps of the command, each a few calls to the library."""

    def __init__(self, options: argparse.Namespace, console: Console, backbone: Any) -> None:
        self.options, self.console, self.backbone = options, console, backbone
        self.tags: tuple[Any, ...] = ()
        self.cuts: list[tuple[str, ...]] | None = None
        self.notes: list[str] = []
        self.labels: tuple[str, ...] = ()

    def follow(self, events: Events) -> Any:
        """Show events; returns the last. Ctrl-C stops after the current batch."""
        last = self.console.follow(self._until_stopped(events))
        if self.console.asked_to_stop():
            raise KeyboardInterrupt  # before anything is written
        return last

    def _until_stopped(self, events: Events) -> Events:
        with closing(events):
            for event in events:
                yield event
                if self.console.asked_to_stop():
                    return

    def tag(self, dataset: Any) -> Any:
        if not self.options.tagger:
            return dataset
        from ..common.files import write_json
        from ..tagging.caption_files import without_folder_names
        from ..tagging.choice import TagChoice
        from ..tagging.tagger import open_tagger, tag_dataset

        options = self.options
        choice = TagChoice(general=options.general, character=options.character, mcut=options.mcut,
                           rating=options.rating, most=options.most, underscores=options.underscores == "underscores")
        tagger = open_tagger(self._tagger_name(), options.taggers)
        self.labels = tuple(label.name for label in tagger.labels if label.name)
        for note in tagger.notes:
            self.console.say(f"note: {note}")
        if options.merge == "keep":
            dataset = without_folder_names(dataset)
        done = self.follow(tag_dataset(dataset, tagger, choice, options.merge, options.batch))
        self.tags = done.tags
        if options.scores:
            write_json(options.scores, {str(sample.path): {tag.name: round(tag.score, 4) for tag in found.tags}
                                        for sample, found in zip(dataset, done.tags, strict=True) if found})
        return done.dataset

    def _tagger_name(self) -> str | Path:
        from ..tagging.files import PUBLISHED, download_tagger, installed_taggers

        name, root = self.options.tagger, self.options.taggers
        if self.options.download and name in PUBLISHED and name not in installed_taggers(root):
            self.follow(download_tagger(name, root))
        here = Path(name).is_dir() and name not in installed_taggers(root)
        return Path(name) if here or name != Path(name).name else name

    def describe(self, dataset: Any) -> Any:
        if not self.options.captioner:
            return dataset
        from ..tagging.captioner import ProseChoice, caption_dataset, open_captioner

        name = self.options.captioner
        captioner = open_captioner(Path(name) if Path(name).is_dir() else name, self.options.captioners)
        choice = ProseChoice(detail=self.options.detail, prompt=self.options.prompt)
        return self.follow(caption_dataset(dataset, captioner, choice, self.options.join)).dataset

    def edit(self, dataset: Any) -> Any:
        from ..captions.aliases import load_rules
        from ..tagging.edit import TagEdits, edit_dataset
        from ..tagging.orders import USUAL

        options = self.options
        remove, blacklist, add = (tuple(split_tags(text)) for text in (options.remove, options.blacklist, options.add))
        edits = TagEdits(
            underscores=options.underscores, aliases=options.aliases or options.alias_file is not None,
            replace=tuple(map(tuple, options.replace)), patterns=tuple(map(tuple, options.pattern)),
            remove=remove, blacklist=blacklist, drop_noise=options.drop_noise, implications=options.implications,
            add=add, order=options.order or bool(options.order_by), order_by=options.order_by or USUAL,
            trigger=options.trigger, token_budget=options.budget, wording=options.wording,
            rules=load_rules(options.alias_file, options.implication_file))
        scores = [found and found.scores for found in self.tags] if self.tags else None
        after, diff = edit_dataset(dataset, edits, scores, self.backbone and self.backbone.token_count)
        self.notes += diff.notes
        cut = {change.path: change.cut for change in diff.changes}
        self.cuts = [cut.get(sample.path, ()) for sample in after]
        return after

    def absorb(self, dataset: Any) -> tuple[Any, Any]:
        if not self.options.absorb:
            return dataset, None
        from ..tagging.absorb import apply_plan, load_plan, propose

        plan, file = propose(dataset, self.options.absorb, self.options.trigger, self.options.share), self.options.plan
        if file and file.is_file():
            plan = load_plan(file, plan)
        elif file:
            plan.save(file)
        self.console.say(plan.text())
        after, diff = apply_plan(dataset, plan)
        self.notes += diff.notes
        return after, plan

    def report(self, dataset: Any) -> dict[str, Any]:
        from ..common.files import atomic_path
        from ..tagging.statistics import frequency_chart, tag_statistics
        from ..tagging.trigger_check import check_trigger

        options, found = self.options, {}
        if options.statistics or options.chart:
            statistics = tag_statistics(dataset, options.trigger)
            found["statistics"] = statistics.to_dict()
            self.console.say(statistics.text())
        if options.chart:
            with atomic_path(options.chart) as temp:
                frequency_chart(statistics).save(temp, format="PNG")
        if options.check_trigger:
            tokenize = self.backbone and self.backbone.pipeline.tokenizer.tokenize
            report = check_trigger(options.trigger, self.backbone, self.labels, tokenize=tokenize)
            found["trigger"] = report.to_dict()
            self.console.say(report.text())
        return found
