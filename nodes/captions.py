"""Nodes that change captions: tag by tag, by hand, and by removing what the trigger should come to mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from comfy_api.latest import io

from ..host import menu, paths
from ..host.editors import edits_fingerprint, edits_path, use_edits
from ..host.events import note_last_run
from ..host.session import current_session
from ..host.working import COLUMN, problem, show_report
from ..trainer.captions.aliases import MODES, load_rules
from ..trainer.captions.patterns import Replacement
from ..trainer.captions.sentences import TAGS
from ..trainer.captions.tags import absorb, escape_brackets, same_tag, split_tags
from ..trainer.common.errors import UserError
from ..trainer.datasets.dataset import Dataset
from ..trainer.models.families import WORDINGS
from ..trainer.tagging.absorb import LEAST_SHARE, PURPOSES, apply_plan, propose
from ..trainer.tagging.diff import CaptionDiff
from ..trainer.tagging.edit import TOKEN_BUDGETS, UNDERSCORES, TagEdits, TokenCount, edit_dataset
from ..trainer.tagging.orders import ORDERS, USUAL
from .schema import node_schema
from .sockets import LoraDataset


class EditTags(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_EditTags", display_name="Edit Tags", category=menu.CAPTIONS,
            description="Changes every caption of a dataset, by rules and by hand, in this order: underscores, "
                        "aliases, replace, patterns, remove, blacklist, implications, add, order, trigger, token "
                        "limit, wording, changes by hand. The files are left unchanged.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[LoraDataset.Input("dataset"), *_first_widgets(), *_more_widgets(),
                    io.Clip.Input("clip", optional=True, tooltip=(
                        "A text encoder that counts the tokens for token_limit.")),
                    io.String.Input("scores", optional=True, force_input=True, tooltip=(
                        "Scores from Tag Images. Captions that are too long lose their least certain tags first."))],
            outputs=[LoraDataset.Output(display_name="dataset"),
                     io.String.Output(display_name="diff", tooltip="Every caption that changed, before and after.")],
        )

    @classmethod
    def validate_inputs(cls, replace=None, patterns=None, alias_file=None, implication_file=None,
                        edits=None) -> bool | str:
        checks = ((replacements, replace), (pattern_lines, patterns), (paths.table_file, alias_file),
                  (paths.table_file, implication_file), (edits_path, edits))
        found = (problem(check, value) for check, value in checks)
        return next((message for message in found if message is not True), True)

    @classmethod
    def fingerprint_inputs(cls, edits="", alias_file="", implication_file="", **_) -> Any:
        if None in (edits, alias_file, implication_file):  # linked: the folder is known only when the node runs
            return float("nan")
        files = [paths.table_file(text) for text in (alias_file, implication_file)]
        return [edits_fingerprint(edits, cls.hidden.unique_id),
                [file and file.stat().st_mtime_ns for file in files]]

    @classmethod
    def execute(cls, dataset, trigger, add, remove, replace, blacklist, edits="", clip=None, scores="",
                **more) -> io.NodeOutput:
        rules = make_edits(trigger, add, remove, replace, blacklist, **more)
        ruled, diff = edit_dataset(dataset, rules, read_scores(scores, dataset) if scores else None,
                                   token_count(clip) if clip is not None else None)
        used = use_edits(edits, cls.hidden.unique_id, ruled)
        edited, by_hand = used.edits.apply_to(ruled)
        editor = current_session().editors.show(ruled if used.path else edited, used.path)
        cut = {change.path: change.cut for change in diff.changes}
        diff = CaptionDiff.between(dataset, edited, [cut.get(sample.path, ()) for sample in edited], (
            *diff.notes, *([f"changed by hand: {by_hand}."] if by_hand else []), *filter(None, [used.note])))
        show_report(diff.text(most=0).removesuffix(f"\n… and {len(diff)} more"), cls.hidden.unique_id)
        told = {"dataset": editor.id, "revision": used.edits.revision, "pictures": len(edited), "changed": by_hand}
        note_last_run(cls.hidden.unique_id, told=told)
        return io.NodeOutput(edited, diff.text(most=len(diff)), ui={"lora_bootstrap": [told]})


def _first_widgets() -> list[Any]:
    return [
        io.String.Input("trigger", default="", tooltip=(
            "The word that calls the character or style. It is put first, and appears only once.")),
        io.String.Input("add", default="", multiline=True, tooltip=(
            "Tags to put after the trigger in every caption, separated by commas.")),
        io.String.Input("remove", default="", multiline=True, tooltip=(
            "Tags to remove, separated by commas. Only exact matches are removed; case and underscores do not matter. "
            "For a character, list what should always belong to her (red hair, fox ears): the trigger learns it.")),
        io.String.Input("replace", default="", multiline=True, tooltip=(
            "Replacements, one per line: grey hair = silver hair")),
        io.String.Input("blacklist", default="", multiline=True, tooltip=(
            "Words that no tag may contain, separated by commas: watermark also removes artist watermark. * matches "
            "anything: *background.")),
    ]


def _more_widgets() -> list[Any]:
    """Optional, so that workflows saved before these widgets existed still run."""
    return [
        io.String.Input("patterns", default="", multiline=True, optional=True, tooltip=(
            "Regular expressions, one per line, applied to each tag on its own: ^(light|dark) (.*) hair$ => \\2 hair")),
        io.Combo.Input("underscores", options=list(UNDERSCORES), default="keep", optional=True, tooltip=(
            "How spaces within tags are written: long hair, long_hair, or unchanged. Faces such as ^_^ are left "
            "alone.")),
        io.Boolean.Input("aliases", default=False, optional=True, tooltip=(
            "Use one name for tags that mean the same: gray hair becomes grey hair, kitsunemimi becomes fox ears.")),
        io.Combo.Input("implications", options=list(MODES), default="off", optional=True, tooltip=(
            "What to do with tags that another tag already implies, as fox ears implies animal ears: leave them, drop "
            "them, or add those that are missing.")),
        io.Boolean.Input("order", default=False, optional=True, tooltip=(
            "Sort the tags: trigger, class, count, identity, outfit, pose, view, expression, object, other, lighting, "
            "background, style. Do not use this on sentences.")),
        io.Int.Input("token_limit", default=0, min=0, max=10_000, optional=True, tooltip=(
            "Maximum number of tokens in a caption; the least certain tags are dropped. "
            f"{', '.join(map(str, TOKEN_BUDGETS))} are one, two and three chunks of CLIP. 0: no limit. Needs clip.")),
        io.String.Input("alias_file", default="", optional=True, tooltip=(
            "Aliases of your own: a CSV file in the input folder, with two columns: gray hair,grey hair. "
            "Used only if aliases is on.")),
        io.String.Input("implication_file", default="", optional=True, tooltip=(
            "Implications of your own: a CSV file in the input folder, with two columns: fox ears,animal ears.")),
        io.String.Input("edits", default="", optional=True, tooltip=(
            "Name under which the changes by hand are saved. Every node is given a name of its own. Two nodes with the "
            "same name share their changes. Without a name, changes by hand are not saved.")),
        io.Combo.Input("order_by", options=list(ORDERS), default=USUAL, optional=True, tooltip=(
            "Order of the tags. usual: that of order, for every base but Anima. composition last: class, traits, pose, "
            "expression, light, clothes, background, composition. anima: quality, count, character, series, artist, "
            "then the rest. Any choice but usual sorts, even if order is off.")),
        io.Boolean.Input("drop_noise", default=False, optional=True, tooltip=(
            "Remove what says nothing about the image: solo, nose, words for quality and ratings, signatures and "
            "watermarks, and other noise of taggers.")),
        io.Combo.Input("wording", options=list(WORDINGS), default=TAGS, optional=True, tooltip=(
            "sentences: write the tags as a sentence, for bases that read them (Flux, Qwen, Krea, Z-Image): a girl "
            "with fox ears, wearing a white dress, seen from behind. Captions that are sentences already are left "
            "unchanged.")),
    ]


class AbsorbTags(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_AbsorbTags", display_name="Absorb Tags", category=menu.CAPTIONS,
            description="Removes from the captions what the trigger should come to mean: a character's traits, or the "
                        "words for a style. Proposes a decision for every tag, which you can overrule.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraDataset.Input("dataset"),
                io.Combo.Input("purpose", options=list(PURPOSES), default="character", tooltip=(
                    "What you will train. character: its traits and outfit, where most images have them. real person: "
                    "only the traits, because clothes change. clothing, pose, background, object: their own words, "
                    "where most images have them. style, lighting, detail: every word that names one.")),
                io.String.Input("trigger", default="", tooltip="The trigger. It is never removed."),
                io.Float.Input("least_share", default=LEAST_SHARE, min=0.01, max=1.0, step=0.01, tooltip=(
                    "A trait is absorbed if at least this share of the images whose view can show it have "
                    "it.")),
                io.String.Input("decisions", default="", multiline=True, tooltip=(
                    "Your own decisions, one per line: keep fox ears, absorb white dress, delete watermark. Tags that "
                    "are not listed follow the proposal. You can copy lines from the plan.")),
            ],
            outputs=[
                LoraDataset.Output(display_name="dataset"),
                io.String.Output(display_name="plan", tooltip="One line per tag: the decision and the reason."),
                io.String.Output(display_name="absorbed", tooltip=(
                    "The tags that the trigger will stand for, separated by commas, as a prompt. Prompts for the base "
                    "model still need them.")),
                io.String.Output(display_name="diff", tooltip="Every caption that changed, before and after."),
            ],
        )

    @classmethod
    def execute(cls, dataset, purpose, trigger, least_share, decisions) -> io.NodeOutput:
        plan = propose(dataset, purpose, trigger, least_share).edit(decisions)
        after, diff = apply_plan(dataset, plan)
        head = f"{len(diff)} of {diff.pictures} captions changed"
        summary = "\n".join((head, *(f"⚠ {line}" for line in plan.warnings), *diff.notes, plan.text(COLUMN)))
        show_report(summary, cls.hidden.unique_id)
        return io.NodeOutput(after, plan.text(), escape_brackets(", ".join(plan.absorbed)), diff.text(most=len(diff)))


# -- from widgets to edits ---------------------------------------------------------------------------------------------


def make_edits(trigger: str, add: str, remove: str, replace: str, blacklist: str, *, patterns: str = "",
               underscores: str = "keep", aliases: bool = False, implications: str = "off", order: bool = False,
               token_limit: int = 0, alias_file: str = "", implication_file: str = "", order_by: str = USUAL,
               drop_noise: bool = False, wording: str = TAGS) -> TagEdits:
    """The edits that EditTags' widgets describe. Raises UserError for invalid values."""
    return TagEdits(
        underscores=underscores, aliases=aliases, replace=tuple(replacements(replace).items()),
        patterns=pattern_lines(patterns), remove=tuple(_tags(remove)), blacklist=_words(blacklist),
        drop_noise=drop_noise, implications=implications, add=tuple(absorb(_tags(add), split_tags(trigger))),
        add_first=True, order=order or order_by != USUAL, order_by=order_by, trigger=trigger.strip(),
        token_budget=token_limit, wording=wording,
        rules=load_rules(paths.table_file(alias_file), paths.table_file(implication_file)))


def replacements(text: str) -> dict[str, str]:
    """Lines of the form `old = new` as a table by `same_tag`. An empty new tag removes the old one. Raises UserError
    for any other line."""
    table = {}
    for line in _lines(text):
        old, equals, new = line.partition("=")
        if not equals or not old.strip():
            raise UserError(f"replacement {line!r} is not of the form: old tag = new tag")
        table[same_tag(old)] = new.strip()
    return table


def pattern_lines(text: str) -> tuple[tuple[str, str], ...]:
    """Lines of the form `expression => new`. Raises UserError for any other line, and for a pattern that could hang."""
    rows = []
    for line in _lines(text):
        pattern, arrow, new = line.partition("=>")
        if not arrow or not pattern.strip():
            raise UserError(f"pattern {line!r} is not of the form: regular expression => new text")
        rows.append((pattern.strip(), new.strip()))
        Replacement(*rows[-1])
    return tuple(rows)


def _words(text: str) -> tuple[str, ...]:
    """Words as the library's patterns on whole tags: alone, first, last, and in the middle."""
    words = [re.sub(r"([\[?])", r"[\1]", same_tag(word)) for word in _tags(text)]
    return tuple(pattern for word in words for pattern in (word, f"{word} *", f"* {word}", f"* {word} *"))


def _lines(text: str) -> Sequence[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _tags(text: str) -> list[str]:
    return split_tags(text.replace("\n", ","))


def read_scores(text: str, dataset: Dataset) -> list[Mapping[str, float] | None]:
    """The scores of each image's tags, from the JSON that Tag Images gives: {picture: {tag: score}}.

    Raises UserError if it is not that.
    """
    try:
        found = {str(picture): {same_tag(tag): float(score) for tag, score in tags.items()}
                 for picture, tags in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("scores is not the JSON that Tag Images gives, by image and tag. Link the scores output of Tag "
                        "Images.") from error
    return [found.get(sample.content_hash) for sample in dataset]


def token_count(clip: Any) -> TokenCount:
    """A function that counts the tokens of a caption, by the CLIP encoder that makes the most of it."""
    def count(caption: str) -> int:
        # A word's number is 0 for what the tokenizer adds: start, end and padding.
        chunked = clip.tokenize(escape_brackets(caption), return_word_ids=True)
        return max(sum(token[-1] != 0 for chunk in chunks for token in chunk) for chunks in chunked.values())

    return count
