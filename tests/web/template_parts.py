"""What several templates are laid out with: columns of nodes, and the samplers that draw a comparison, as one box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from template_graph import NAMED, Graph

FIGURES = ("steps", "cfg", "sampler_name", "scheduler")
"""What Sampling by Model says of how a model is usually drawn with, besides the size."""
GUIDES = "/extensions/lora-bootstrap/guides/index.html?page="
"""Where the front end serves a guide; its file's name without an ending follows."""
LOADER = "*Load LoRA (Model and CLIP)* (ComfyUI 0.8: *Load LoRA*)"
"""The host's own node that applies a LoRA to the text encoder too, by its names."""
DATA = 316
"""Height that Load Dataset takes for what it shows of its folder, with the button below it."""
GAP = 50
"""Between the end of a node and the place of the next below it: 30 for its title, and some room."""
OF_BOTH = {"model": "base model", "model_1": "model", "clip": "clip", "clip_1": "base clip"}
"""Names for the inputs of a box that draws with a model and its base."""


@dataclass
class Column:
    """Nodes below one another, of one width. Heights are those in Vue nodes without the title: the classic canvas needs
    less. What grows, with its widgets unfolded or after a Run, stands last."""

    graph: Graph
    x: int
    width: int
    y: int = 60
    members: list[str] = field(default_factory=list)

    def add(self, key: str, type_: str, height: int, links: dict[str, tuple[str, str]] | None = None, /,
            **widgets: Any) -> str:
        self.graph.add(key, type_, self._take(key, height), (self.width, height), links, **widgets)
        return key

    def box(self, key: str, title: str, members: Iterable[str], height: int, promote: Iterable[tuple[str, str, str]],
            labels: dict[str, str]) -> str:
        """Nodes as one box: see `Graph.subgraph`."""
        return self.graph.subgraph(key, title, members, self._take(key, height), (self.width, height), promote, labels)

    def _take(self, key: str, height: int) -> tuple[int, int]:
        place, self.y = (self.x, self.y), self.y + height + GAP
        self.members.append(key)
        return place


@dataclass(frozen=True)
class Drawn:
    """One of the rows that are compared: a model, and the text encoders of its two prompts."""

    key: str
    model: tuple[str, str]
    clip: tuple[str, str]
    negative: tuple[str, str]


def add_figures(graph: Graph, key: str, model: tuple[str, str], vae: tuple[str, str], batch: int = 1) -> list[str]:
    """How the model is usually drawn with, and an empty latent of its size: what a box of samplers begins with."""
    return [graph.add(f"{key} figures", f"{NAMED}SamplingByModel", (0, 60), (300, 290), {"model": model, "vae": vae}),
            graph.add(f"{key} latent", "EmptyLatentImage", (0, 400), (300, 118), {
                "width": (f"{key} figures", "width"), "height": (f"{key} figures", "height")}, batch_size=batch,
                title="Size, and how many")]


def add_sampler(graph: Graph, key: str, place: tuple[int, int], links: dict[str, tuple[str, str]],
                vae: tuple[str, str], part: str) -> list[str]:
    """A sampler with the box's figures and size, and its decoder below."""
    x, y = place
    return [graph.add(f"{part} sample", "KSampler", place, (300, 300), {
                "latent_image": (f"{key} latent", "LATENT"), **links,
                **{name: (f"{key} figures", name) for name in FIGURES}}, denoise=1.0),
            graph.add(f"{part} decode", "VAEDecode", (x, y + 350), (300, 54), {
                "samples": (f"{part} sample", "LATENT"), "vae": vae})]


def add_drawing(column: Column, key: str, title: str, rows: Sequence[Drawn], *, prompt: str, base: tuple[str, str],
                vae: tuple[str, str], height: int, before: Sequence[str] = (),
                labels: Mapping[str, str] = OF_BOTH) -> tuple[str, str]:
    """Draw the same prompt at the same seeds once for each row, as the base model is usually drawn with, and put the
    rows below one another: one image for each seed. Prompt, seed, steps and cfg are set on the box.

    Args:
        before: nodes that belong into the box too.
        labels: names for the box's inputs: see `Graph.subgraph`.
    Returns:
        The output with the images, inside the box: (node, output).
    """
    graph = column.graph
    box = [*before, *add_figures(graph, key, base, vae, batch=4),
           graph.add(f"{key} prompt", "PrimitiveStringMultiline", (0, 570), (300, 130), value=prompt, title="Prompt"),
           graph.add(f"{key} seed", "PrimitiveInt", (0, 750), (300, 110), value=7, title="Seed")]
    images = []
    for at, row in enumerate(rows):
        y, part = 60 + 460 * at, f"{key} {row.key}"
        for kind, clip, given in (("text", row.clip, {"text": (f"{key} prompt", "STRING")}),
                                  ("negative", row.negative, {})):
            box.append(graph.add(f"{part} {kind}", "CLIPTextEncode", (360, y), (300, 110), {"clip": clip, **given},
                                 text="", title=f"{'Prompt' if given else 'Negative prompt'}: {row.key}"))
            y += 170
        box += add_sampler(graph, key, (720, 60 + 460 * at), {
            "model": row.model, "positive": (f"{part} text", "CONDITIONING"),
            "negative": (f"{part} negative", "CONDITIONING"), "seed": (f"{key} seed", "INT")}, vae, part)
        images.append((f"{part} decode", "IMAGE"))
    joined = images[0]
    for at, below in enumerate(images[1:]):
        joined = (graph.add(f"{key} join {at}", "ImageStitch", (1080, 60 + 260 * at), (300, 190), {
            "image1": joined, "image2": below}, direction="down", match_image_size=True, spacing_width=2), "IMAGE")
        box.append(joined[0])
    box.append(graph.add(f"{key} larger", "ImageScaleToTotalPixels", (1440, 60), (300, 120), {"image": joined},
                         upscale_method="lanczos", megapixels=1.0, title="Enlarge for looking"))
    column.box(key, title, box, height, [
        (f"{key} prompt", "value", "prompt"), (f"{key} seed", "value", "seed"),
        (f"{key} latent", "batch_size", "images drawn"), (f"{key} figures", "steps", "steps"),
        (f"{key} figures", "cfg", "cfg")], {"IMAGE": "images", **labels})
    return f"{key} larger", "IMAGE"
