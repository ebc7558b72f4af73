"""What several templates are laid out with: columns of nodes, and the samplers that draw a comparison, as one box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from template_graph import Graph

SAMPLED = {"steps": 16, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
"""How the sandbox is sampled."""
SWEPT = {"width": 128, "height": 128, "steps": 16, "cfg": 3.0}
"""The same in the nodes that draw a sweep themselves."""
GAP = 50
"""Between the end of a node and the place of the next below it: 30 for its title, and some room."""


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


def add_drawing(column: Column, key: str, title: str, rows: Sequence[Drawn], *, prompt: str, vae: tuple[str, str],
                height: int, seed: int = 7, before: Sequence[str] = ()) -> tuple[str, str]:
    """Draw the same prompt at the same seeds once for each row, and put the rows below one another in one image for each
    seed. Prompt, seed, steps, cfg and size are set on the box.

    Args:
        before: nodes that belong into the box too.
    Returns:
        The box's output with the images: (box, name).
    """
    graph, box = column.graph, []
    values = {"prompt": ("PrimitiveStringMultiline", prompt), "seed": ("PrimitiveInt", seed),
              "steps": ("PrimitiveInt", SAMPLED["steps"]), "cfg": ("PrimitiveFloat", SAMPLED["cfg"])}
    for at, (name, (type_, value)) in enumerate(values.items()):
        box.append(graph.add(f"{key} {name}", type_, (0, 60 + 160 * at), (300, 110), value=value, title=name.title()))
    box.append(graph.add(f"{key} latent", "EmptyLatentImage", (0, 700), (300, 118), width=128, height=128, batch_size=4,
                         title="Size, and how many (sandbox: 128 makes 64 px)"))
    images = [_draw_row(graph, key, row, at, vae, box) for at, row in enumerate(rows)]
    joined = images[0]
    for at, below in enumerate(images[1:]):
        joined = (graph.add(f"{key} join {at}", "ImageStitch", (1500, 60 + 260 * at), (300, 170), {
            "image1": joined, "image2": below}, direction="down", match_image_size=True, spacing_width=2), "IMAGE")
        box.append(joined[0])
    box.append(graph.add(f"{key} larger", "ImageScaleToTotalPixels", (1850, 60), (300, 120), {"image": joined},
                         upscale_method="lanczos", megapixels=1.0, title="Enlarge for looking"))
    promoted = [(f"{key} {name}", "value", name) for name in values]
    promoted += [(f"{key} latent", name, label) for name, label in (
        ("width", "width"), ("height", "height"), ("batch_size", "images"))]
    column.box(key, title, [*box, *before], height, promoted, {"IMAGE": "images"})
    return key, "images"


def _draw_row(graph: Graph, key: str, row: Drawn, at: int, vae: tuple[str, str], box: list[str]) -> tuple[str, str]:
    """From a model to its images; adds the nodes to `box`."""
    y, part = 60 + 460 * at, f"{key} {row.key}"
    box += [
        graph.add(f"{part} text", "CLIPTextEncode", (360, y), (300, 110), {
            "clip": row.clip, "text": (f"{key} prompt", "STRING")}, title=f"Prompt: {row.key}"),
        graph.add(f"{part} negative", "CLIPTextEncode", (360, y + 180), (300, 110), {"clip": row.negative}, text="",
                  title=f"Negative prompt: {row.key}"),
        graph.add(f"{part} sample", "KSampler", (720, y), (300, 300), {
            "model": row.model, "positive": (f"{part} text", "CONDITIONING"),
            "negative": (f"{part} negative", "CONDITIONING"), "latent_image": (f"{key} latent", "LATENT"),
            **{name: (f"{key} {name}", kind) for name, kind in (("seed", "INT"), ("steps", "INT"), ("cfg", "FLOAT"))}},
            **{name: SAMPLED[name] for name in ("sampler_name", "scheduler", "denoise")}, title=f"KSampler: {row.key}"),
        graph.add(f"{part} decode", "VAEDecode", (1080, y), (300, 54), {
            "samples": (f"{part} sample", "LATENT"), "vae": vae})]
    return f"{part} decode", "IMAGE"
