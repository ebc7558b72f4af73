"""Node schemas (`io`), what nodes show (`ui`), and the extension class, as far as the pack uses them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any


class Hidden(str, Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    dynprompt = "DYNPROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


class _Input:
    """An input or widget: what it was given and is not None goes into its description."""

    io_type = ""
    renamed = {"raw_link": "rawLink", "force_input": "forceInput", "dynamic_prompts": "dynamicPrompts",
               "display_mode": "display"}
    silent = {"id", "optional", "self"}

    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, raw_link=None):
        self._take(locals())

    def _take(self, given):
        self.id, self.optional, self.force_input = given["id"], given["optional"], given.get("force_input")
        self.options = {self.renamed.get(name, name): value for name, value in given.items()
                        if name not in self.silent and name[0] != "_" and value is not None}
        self.extra_dict = {}


class _Widget(_Input):
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, default=None, socketless=None,
                 force_input=None):
        self._take(locals())


class _Int(_Widget):
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, default=None, min=None, max=None,
                 step=None, control_after_generate=None, display_mode=None, socketless=None, force_input=None):
        self._take(locals())


class _Float(_Widget):
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, default=None, min=None, max=None,
                 step=None, round=None, display_mode=None, socketless=None, force_input=None):
        self._take(locals())


class _String(_Widget):
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, multiline=False,
                 placeholder=None, default=None, dynamic_prompts=None, socketless=None, force_input=None):
        self._take(locals())


class _Combo(_Widget):
    def __init__(self, id, options=None, display_name=None, optional=False, tooltip=None, lazy=None, default=None,
                 control_after_generate=None, socketless=None):
        multiselect = False
        self._take(locals() | {"multiselect": multiselect})


class _Output:
    io_type = ""

    def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
        self.id, self.name, self.tooltip, self.is_list = id, display_name or id, tooltip, is_output_list


def _type(io_type, input_class=_Input):
    return type(io_type, (), {"io_type": io_type, "Input": type("Input", (input_class,), {"io_type": io_type}),
                              "Output": type("Output", (_Output,), {"io_type": io_type})})


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    hidden: list = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    search_aliases: list = field(default_factory=list)


class NodeOutput:
    def __init__(self, *args, ui=None, expand=None, block_execution=None):
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    def __getitem__(self, index):
        return self.args[index]


class ComfyNode:
    hidden = SimpleNamespace(unique_id="7", prompt=None, extra_pnginfo=None, dynprompt=SimpleNamespace(
        get_node=lambda node: {"inputs": {"model": ["1", 0]}}))

    @classmethod
    def object_info(cls) -> dict[str, Any]:
        """What `GET /object_info` of a host says of the node, as far as it is the node's own doing."""
        schema = cls.define_schema()
        ids = [entry.id for entry in schema.inputs]
        if len(set(ids)) < len(ids):
            raise ValueError(f"{schema.node_id}: input ids are not unique")
        inputs: dict[str, dict] = {"required": {}}
        for entry in schema.inputs:
            group = inputs.setdefault("optional" if entry.optional else "required", {})
            group[entry.id] = [entry.io_type, entry.options | entry.extra_dict]
        hidden = [*schema.hidden, *[Hidden.prompt, Hidden.extra_pnginfo] * schema.is_output_node]
        if hidden:
            inputs["hidden"] = {entry.name: [entry.value] for entry in dict.fromkeys(hidden)}
        return {
            "input": inputs, "output": [entry.io_type for entry in schema.outputs],
            "output_name": [entry.name or entry.io_type for entry in schema.outputs],
            "output_tooltips": [entry.tooltip for entry in schema.outputs],
            "output_is_list": [entry.is_list for entry in schema.outputs],
            "name": schema.node_id, "display_name": schema.display_name, "description": schema.description,
            "category": schema.category, "output_node": schema.is_output_node,
            "search_aliases": schema.search_aliases or None,
        }

    @classmethod
    def parameters(cls, method: str) -> set[str]:
        """Names that a method takes besides the class; "**" if it takes any."""
        signature = inspect.signature(getattr(cls, method))
        return {"**" if parameter.kind is parameter.VAR_KEYWORD else parameter.name
                for parameter in signature.parameters.values()}


class ComfyExtension:
    async def get_node_list(self):
        raise NotImplementedError


class PreviewImage:
    """Keeps the pictures it is to show; the host would save them to its temp folder."""

    def __init__(self, image, animated=False, cls=None):
        self.image = image

    def as_dict(self):
        return {"images": [{}] * len(self.image), "animated": (False,)}


io = SimpleNamespace(
    Schema=Schema, Hidden=Hidden, NodeOutput=NodeOutput, ComfyNode=ComfyNode, Custom=_type,
    Int=_type("INT", _Int), Float=_type("FLOAT", _Float), String=_type("STRING", _String),
    Boolean=_type("BOOLEAN", _Widget), Combo=_type("COMBO", _Combo), Image=_type("IMAGE"), Mask=_type("MASK"),
    ClipVision=_type("CLIP_VISION"), Model=_type("MODEL"), Clip=_type("CLIP"), Vae=_type("VAE"),
    Latent=_type("LATENT"), AnyType=_type("*"),
)
ui = SimpleNamespace(PreviewImage=PreviewImage)
