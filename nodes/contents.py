"""The node that says what comes over a link, so that an image is drawn again if that has changed."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host import menu
from ..host.drawing.node_facts import link_key
from ..host.drawing.recipe import short_hash
from .schema import node_schema


class LinkContent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_LinkContent", display_name="Link Content", category=f"{menu.SWEEP}/{menu.INTERNAL}",
            is_deprecated=True, is_input_list=True,
            description="A hash of the linked value. Compose Grid and Save Candidates add this node while they work; "
                        "do not use it in your own workflows.",
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[io.AnyType.Input("value", tooltip="The value. A list counts as a whole."),
                    io.String.Input("before", default="", tooltip="The hash of other values, to be part of this one.")],
            outputs=[io.String.Output(display_name="content")],
        )

    @classmethod
    def execute(cls, value: list[Any], before: list[str]) -> io.NodeOutput:
        find = cls.hidden.dynprompt.get_node
        link = find(cls.hidden.unique_id)["inputs"]["value"]
        return io.NodeOutput(short_hash([*before, link_key(find, link, value)]))
