"""Nodes that work on captions as tags."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_api.latest import io

from ..trainer.captions import add_trigger, join_tags, same_tag, split_tags
from ..trainer.errors import UserError
from .sockets import LoraDataset


class EditTags(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_EditTags", display_name="Edit Tags", category="LoRA Bootstrap/captions",
            description="Changes every caption of a dataset. In this order: replace, remove, blacklist, add, trigger. "
                        "The files stay as they are.",
            inputs=[
                LoraDataset.Input("dataset"),
                io.String.Input("trigger", default="", tooltip=(
                    "The word to call the character or style by. It goes first, and is there only once.")),
                io.String.Input("add", default="", multiline=True, tooltip=(
                    "Tags to put after the trigger in every caption, between commas.")),
                io.String.Input("remove", default="", multiline=True, tooltip=(
                    "Tags to leave out, between commas: exactly these, in any case, with blank or underscore. For a "
                    "character, name here what shall always be hers (red hair, fox ears): the trigger learns it.")),
                io.String.Input("replace", default="", multiline=True, tooltip=(
                    "One replacement a line, as in: grey hair = silver hair")),
                io.String.Input("blacklist", default="", multiline=True, tooltip=(
                    "Words that no caption may hold, between commas: every tag with one of them goes (watermark also "
                    "removes artist watermark).")),
            ],
            outputs=[LoraDataset.Output(display_name="dataset")],
        )

    @classmethod
    def validate_inputs(cls, replace) -> bool | str:
        try:
            replacements(replace or "")
        except UserError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, dataset, trigger, add, remove, replace, blacklist) -> io.NodeOutput:
        new_names, added, gone, words = replacements(replace), _tags(add), _tags(remove), _tags(blacklist)
        return io.NodeOutput(dataset.with_captions(lambda caption: join_tags(
            edited(split_tags(caption), trigger.strip(), added, gone, new_names, words))))


def edited(tags: Sequence[str], trigger: str = "", add: Sequence[str] = (), remove: Sequence[str] = (),
           replace: dict[str, str] | None = None, blacklist: Sequence[str] = ()) -> list[str]:
    """The tags of one caption, each at most once, after replacing, removing, blacklisting, adding and the trigger."""
    gone, banned = {same_tag(tag) for tag in remove}, [same_tag(word).split() for word in blacklist]
    renamed = [(replace or {}).get(same_tag(tag), tag) for tag in tags]
    kept = [tag for tag in renamed if tag and same_tag(tag) not in gone
            and not any(_holds(same_tag(tag).split(), words) for words in banned)]
    # tags that are asked for stand in the order in which they are given, before the others
    first = [tag for tag in add if same_tag(tag) not in {same_tag(other) for other in split_tags(trigger)}]
    unique: dict[str, str] = {}
    for tag in (*first, *kept):
        unique.setdefault(same_tag(tag), tag)
    return add_trigger(list(unique.values()), trigger)


def _holds(words: Sequence[str], wanted: Sequence[str]) -> bool:
    return any(list(words[start : start + len(wanted)]) == list(wanted) for start in range(len(words)))


def replacements(text: str) -> dict[str, str]:
    """`old = new` lines as a table by `same_tag`; an empty new tag removes. Raises UserError for any other line."""
    table = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        old, equals, new = line.partition("=")
        if not equals or not old.strip():
            raise UserError(f"replacement {line!r} is not of the form: old tag = new tag")
        table[same_tag(old)] = new.strip()
    return table


def _tags(text: str) -> list[str]:
    return split_tags(text.replace("\n", ","))
