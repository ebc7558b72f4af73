"""Nodes that say what a link carries: the figures that a MODEL is drawn with, and a hash of any value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..host import menu
from ..host.drawing.base_file import base_file
from ..host.drawing.node_facts import link_key
from ..host.drawing.node_place import NodePlace
from ..host.drawing.recipe import short_hash
from ..host.drawing.sampling_figures import DrawnModel, Figures, describe_sampling
from ..host.shown_text import show_text
from .inputs import figure_inputs
from .schema import node_schema


class SamplingByModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_SamplingByModel", display_name="Sampling by Model", category=menu.BOOTSTRAP,
            description="Provides size, steps, cfg, sampler and scheduler to every KSampler and Empty Latent Image of "
                        "a workflow. What is left to the model is what its family is usually drawn with.",
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[io.Model.Input("model"), io.Vae.Input("vae"), *figure_inputs()],
            outputs=[
                io.Int.Output(display_name="width", tooltip="Width, for Empty Latent Image."),
                io.Int.Output(display_name="height", tooltip="Height, for Empty Latent Image."),
                io.Int.Output(display_name="steps", tooltip="Sampling steps, for KSampler."),
                io.Float.Output(display_name="cfg", tooltip="Guidance scale, for KSampler."),
                io.AnyType.Output(display_name="sampler_name", tooltip="The sampler's name, for KSampler."),
                io.AnyType.Output(display_name="scheduler", tooltip="The scheduler's name, for KSampler."),
            ],
        )

    @classmethod
    def describe_plan(cls, values: Mapping[str, Any], model: DrawnModel, settings: Any) -> str:
        """For the route `plan`: what it will provide."""
        return f"will set: {describe_sampling(values, model)}"

    @classmethod
    def execute(cls, model, vae, width, height, steps, cfg, sampler_name, scheduler) -> io.NodeOutput:
        place = NodePlace.of(cls.hidden)
        own = DrawnModel.of(model, vae, base_file(model, place.find, place.links["model"])).figures()
        figures = Figures(width, height, steps, cfg, sampler_name, scheduler).settle(own)
        show_text(figures.text, place.id)
        return io.NodeOutput(figures.width, figures.height, figures.steps, figures.cfg, figures.sampler,
                             figures.scheduler)


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
