"""Make the subgraph blueprints, parts of our templates that the node library offers, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_blueprints.py http://127.0.0.1:8188
Add each from the node library afterwards, and look at it in both renderers.
"""

from __future__ import annotations

import sys

from template_graph import NAMED, Graph, make

FIGURES = ("width", "height", "steps", "cfg", "sampler_name", "scheduler")
AROUND = (-1000, 0)
"""Where the nodes are that give a box its inputs and outputs, and are not kept."""
LOADED = {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE")}


def begin(name: str) -> Graph:
    graph = Graph(name)
    graph.add("base", "CheckpointLoaderSimple", AROUND, (300, 100))
    graph.add("data", f"{NAMED}LoadDataset", AROUND, (300, 100))
    graph.add("run", f"{NAMED}LoadRun", AROUND, (300, 100))
    return graph


def add_sampler(graph: Graph, key: str, place: tuple[int, int], model: tuple[str, str], clip: tuple[str, str],
                text: tuple[str, str], **seed: tuple[str, str]) -> list[str]:
    """Text encoder, sampler and decoder, set by Sampling by Model."""
    x, y = place
    return [
        graph.add(f"encode{key}", "CLIPTextEncode", (x, y), (320, 100), {"clip": clip, "text": text}),
        graph.add(f"sample{key}", "KSampler", (x + 380, y), (320, 340), {
            "model": model, "positive": (f"encode{key}", "CONDITIONING"), "negative": ("negative", "CONDITIONING"),
            "latent_image": ("latent", "LATENT"), **seed, **{name: ("figures", name) for name in FIGURES[2:]}}),
        graph.add(f"decode{key}", "VAEDecode", (x + 760, y), (240, 60), {
            "samples": (f"sample{key}", "LATENT"), "vae": LOADED["vae"]})]


def add_figures(graph: Graph, clip: tuple[str, str], batch: int) -> list[str]:
    """What every sampler in the box shares."""
    return [
        graph.add("figures", f"{NAMED}SamplingByModel", (0, 0), (340, 300), {
            "model": LOADED["model"], "vae": LOADED["vae"]}),
        graph.add("latent", "EmptyLatentImage", (400, 0), (300, 140), {
            name: ("figures", name) for name in FIGURES[:2]}, batch_size=batch),
        graph.add("negative", "CLIPTextEncode", (760, 0), (320, 140), {"clip": clip}, text="",
                  title="Negative prompt")]


def draw_views() -> Graph:
    graph = begin("LoRA Bootstrap - Draw views")
    graph.add("image", "LoadImage", AROUND, (300, 300))
    graph.add("project", f"{NAMED}Project", AROUND, (300, 300), {"picture": ("image", "IMAGE")})
    graph.add("pick", f"{NAMED}PickCheckpoint", AROUND, (300, 200), {
        "run": ("run", "run"), "model": LOADED["model"], "clip": LOADED["clip"]})
    graph.add("after", f"{NAMED}CurateImages", AROUND, (300, 300), {"project": ("save", "project")})
    members = [*add_figures(graph, LOADED["clip"], 1), graph.add(
        "views", f"{NAMED}ViewPrompts", (0, 400), (360, 440), {
            "project": ("project", "project"), "dataset": ("data", "dataset")}, round=1)]
    members += add_sampler(graph, "", (420, 400), ("pick", "MODEL"), ("pick", "CLIP"), ("views", "prompt"),
                           seed=("views", "seed"))
    members.append(graph.add("save", f"{NAMED}SaveCandidates", (1480, 400), (360, 440), {
        "project": ("project", "project"), "views": ("views", "views"), "images": ("decode", "IMAGE"),
        "LORA_STACK": ("pick", "LORA_STACK")}))
    graph.subgraph("box", graph.name, members, (0, 0), (340, 600), promote=[
        ("views", "round", "round"), ("views", "count", "count"), ("views", "before", "before each prompt"),
        *(("figures", name, name) for name in FIGURES), ("negative", "text", "negative prompt")],
        labels={"model": "base model", "model_1": "model with the LoRA", "clip": "base clip",
                "clip_1": "clip with the LoRA"})
    graph.publish("box", "Draws the views of a round of a bootstrap project and saves each as a candidate.",
                  ("bootstrap", "candidates", "views", "character sheet"))
    return graph


def train_and_compare() -> Graph:
    graph = begin("LoRA Bootstrap - Train and compare")
    for key, source in (("with", "decode1"), ("without", "decode2")):
        graph.add(key, "PreviewImage", AROUND, (300, 300), {"images": (source, "IMAGE")})
    graph.add("after", f"{NAMED}StrengthGrid", AROUND, (300, 300), {**LOADED, "run": ("train", "run")})
    members = [*add_figures(graph, LOADED["clip"], 4),
               graph.add("train", f"{NAMED}TrainLora", (0, 400), (380, 900), {**LOADED, "dataset": ("data", "dataset")},
                         name="my_character", trigger="mychar", kind="character"),
               graph.add("prompt", "PrimitiveStringMultiline", (440, 1200), (320, 120), value="mychar, smile",
                         title="Prompt"),
               *add_sampler(graph, "1", (440, 400), ("train", "MODEL"), ("train", "CLIP"), ("prompt", "STRING")),
               *add_sampler(graph, "2", (440, 800), LOADED["model"], LOADED["clip"], ("prompt", "STRING"))]
    for key in ("1", "2"):
        graph.nodes[f"sample{key}"]["widgets"]["seed"] = 7
    graph.subgraph("box", graph.name, members, (0, 0), (340, 600), promote=[
        ("train", "name", "name"), ("train", "trigger", "trigger"), ("train", "kind", "kind"),
        ("train", "steps", "training steps"), ("prompt", "value", "prompt"), ("negative", "text", "negative prompt")],
        labels={"IMAGE": "with the LoRA", "IMAGE_1": "without it"})
    graph.publish("box", "Trains a LoRA on a dataset, and draws the same prompt with it and without it.",
                  ("train", "finetune", "lora", "compare"))
    return graph


def strength_grid() -> Graph:
    graph = begin("LoRA Bootstrap - Strength grid")
    graph.add("after", "PreviewImage", AROUND, (300, 300), {"images": ("grid", "sheet")})
    members = [graph.add("grid", f"{NAMED}StrengthGrid", (0, 0), (420, 960), {**LOADED, "run": ("run", "run")},
                         rows="strength", columns="prompt"),
               graph.add("sheet", "PreviewImage", (480, 0), (500, 700), {"images": ("grid", "sheet")},
                         title="The sheet")]
    graph.subgraph("box", graph.name, members, (0, 0), (340, 600), promote=[
        ("grid", name, name) for name in ("prompts", "strengths", "seeds", "negative")])
    graph.publish("box", "Draws each prompt with a LoRA at several strengths and without it, as one sheet.",
                  ("xy plot", "grid", "compare", "strength"))
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), (draw_views(), train_and_compare(), strength_grid()), {})
