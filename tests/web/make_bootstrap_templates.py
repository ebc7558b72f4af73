"""Make the bootstrap templates, whole and in parts, and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_bootstrap_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys

from bootstrap_notes import note_of
from make_real_templates import FORMS, NETWORK, XL, Form
from template_graph import NAMED, Graph, make

SANDBOX = "sandbox"
FIGURES = ("width", "height", "steps", "cfg", "sampler_name", "scheduler")
"""What Sampling by Model says, in the order in which it is set."""
ROW, NEXT_ROW = 60, 1190
"""Heights at which the groups begin."""
LEFT = (0, 330, 770)
"""Where the columns of the first group begin: the model and the image, the project, how it is drawn."""


def load_sandbox(graph: Graph, y: int) -> tuple[list[str], int]:
    return [graph.add("base", f"{NAMED}LoadSandbox", (0, y), (300, 180), picture="akane")], y + 240


FLAGSHIPS = {
    "4 Bootstrap a character": Form(
        SANDBOX, load_sandbox, ("base", "MODEL"), ("base", "CLIP"), ("base", "VAE"), "eiei21girl", "", ""),
    **{f"4 Bootstrap a character ({name})": FORMS[name] for name in (XL, NETWORK)}}
PARTS = FLAGSHIPS["4 Bootstrap a character"]
"""The form in which the parts start."""


# -- boxes -------------------------------------------------------------------------------------------------------------


def begin(graph: Graph, form: Form, reference: bool = True) -> list[str]:
    """The base, the image, the project, what all samplers share, and the base's own drawings if wanted."""
    members, y = load(graph, form)
    picture = {"picture": ("base", "picture"), "tags": ("base", "tags")}
    if form.name != SANDBOX:
        members += [
            graph.add("image", "LoadImage", (LEFT[0], y), (300, 280), image="example.png"),
            graph.add("tag", f"{NAMED}TagImages", (LEFT[0], y + 340), (300, 280), {"images": ("image", "IMAGE")},
                      tagger="wd-swinv2-tagger-v3", bypassed=True, title="Tag Images (off: Ctrl+B)")]
        picture = {"picture": ("image", "IMAGE"), "proposed": ("tag", "tags")}
    members.append(graph.add("project", f"{NAMED}Project", (LEFT[1], ROW), (400, 950), {
        **picture, "model": form.model}, trigger=form.trigger))
    members.append(share_drawing(graph, form, (LEFT[2], ROW)))
    if reference:
        members.append(draw_base(graph, form, (LEFT[2], ROW + 540)))
    return members


def load(graph: Graph, form: Form) -> tuple[list[str], int]:
    """The loaders, in one box if they are several. Returns (what is seen, the next free y)."""
    loaders, y = form.load(graph, ROW)
    if len(loaders) == 1:
        return loaders, y
    return [graph.subgraph("model", "Your model", loaders, (LEFT[0], ROW), (300, 300), promote=(
        ("network", "unet_name", "diffusion model"), ("text", "clip_name", "text encoder"), ("text", "type", "type"),
        ("vae", "vae_name", "VAE")))], ROW + 330


def share_drawing(graph: Graph, form: Form, place: tuple[int, int]) -> str:
    """The one place where size, steps, cfg, sampler, scheduler and what stands around each prompt are set."""
    x, y = place
    members = [
        graph.add("figures", f"{NAMED}SamplingByModel", (x, y), (340, 300), {"model": form.model, "vae": form.vae}),
        graph.add("latent", "EmptyLatentImage", (x + 400, y), (300, 140), {
            name: ("figures", name) for name in FIGURES[:2]}, batch_size=1),
        graph.add("negative", "CLIPTextEncode", (x + 400, y + 200), (300, 140), {"clip": form.clip},
                  text=form.negative, title="Negative prompt"),
        graph.add("words", "PrimitiveString", (x + 400, y + 400), (300, 70), value=form.before.removesuffix(", "),
                  title="Words before each prompt")]
    return graph.subgraph("drawing", "How every round is drawn", members, place, (340, 470), promote=[
        *(("figures", name, name) for name in FIGURES), ("words", "value", "before each prompt"),
        ("negative", "text", "negative prompt")],
        labels={"STRING": "before", "CONDITIONING": "negative", "LATENT": "latent"})


def sample(graph: Graph, form: Form, number: int, place: tuple[int, int], model: tuple[str, str], clip: tuple[str, str],
           project: tuple[str, str], **links: tuple[str, str]) -> list[str]:
    """View prompts, a sampler of the host's own nodes, and Save Candidates.

    Args:
        links: what else goes into View Prompts, and LORA_STACK into Save Candidates.
    """
    (x, y), key = place, str(number)
    stack = {"LORA_STACK": links.pop("LORA_STACK")} if "LORA_STACK" in links else {}
    return [
        graph.add(f"views{key}", f"{NAMED}ViewPrompts", (x, y), (360, 440), {
            "project": project, "before": ("words", "STRING"), **links}, round=number),
        graph.add(f"encode{key}", "CLIPTextEncode", (x, y + 520), (360, 100), {
            "clip": clip, "text": (f"views{key}", "prompt")}),
        graph.add(f"sample{key}", "KSampler", (x + 420, y), (320, 340), {
            "model": model, "positive": (f"encode{key}", "CONDITIONING"), "negative": ("negative", "CONDITIONING"),
            "latent_image": ("latent", "LATENT"), "seed": (f"views{key}", "seed"),
            **{name: ("figures", name) for name in FIGURES[2:]}}, denoise=1.0),
        graph.add(f"decode{key}", "VAEDecode", (x + 420, y + 520), (320, 60), {
            "samples": (f"sample{key}", "LATENT"), "vae": form.vae}),
        graph.add(f"save{key}", f"{NAMED}SaveCandidates", (x + 800, y), (360, 440), {
            "project": project, "views": (f"views{key}", "views"), "images": (f"decode{key}", "IMAGE"), **stack})]


def draw_base(graph: Graph, form: Form, place: tuple[int, int]) -> str:
    """What the base draws by itself, which a LoRA is held against, and then the crops as the first training set."""
    x, y = place
    members = sample(graph, form, 0, (x, y), form.model, form.clip, ("project", "project"))
    members.append(graph.add("data1", f"{NAMED}RoundDataset", (x + 800, y + 520), (360, 200), {
        "project": ("save0", "project")}, round=0, purpose="style"))
    return graph.subgraph("draw0", "What the model draws by itself", members, place, (340, 410))


def train(graph: Graph, form: Form, number: int, place: tuple[int, int], source: str, purpose: str, title: str) -> str:
    """The training of round `number`, on the dataset that `source` gives."""
    return graph.add(f"train{number}", f"{NAMED}TrainLora", place, (380, 960), {
        **form.links, "dataset": (source, "dataset"), "name": (source, "run_name"), "trigger": (source, "trigger")},
        kind=purpose, title=title)


def grow(graph: Graph, form: Form, number: int, place: tuple[int, int], before: tuple[str, str], source: str,
         seed: tuple[str, str] | None = None, count: int = 0) -> list[str]:
    """One round: train a style LoRA on what there is, draw with it, curate.

    Args:
        before: the project before the round.
        source: the node that gives the training set.
    """
    trained = train(graph, form, number, place, source, "style", f"Train the style LoRA of round {number}")
    return [trained, *draw_round(graph, form, number, (place[0] + 430, place[1]), before, trained, source, seed, count)]


def draw_round(graph: Graph, form: Form, number: int, place: tuple[int, int], before: tuple[str, str], trained: str,
               source: str, seed: tuple[str, str] | None = None, count: int = 0) -> list[str]:
    """Draw a round with the LoRA of the node `trained`, and curate."""
    (x, y), key = place, str(number)
    pick = graph.add(f"pick{key}", f"{NAMED}PickCheckpoint", place, (360, 260), {
        "run": (trained, "run"), "model": form.model, "clip": form.clip}, strength=0.6)
    drawn = sample(graph, form, number, (x + 420, y), (pick, "MODEL"), (pick, "CLIP"), before,
                   LORA_STACK=(pick, "LORA_STACK"), dataset=(source, "dataset"), **({"seed": seed} if seed else {}))
    graph.nodes[f"views{key}"]["widgets"]["count"] = count
    box = graph.subgraph(f"draw{key}", f"Draw round {number} with it", [pick, *drawn], place, (300, 460), promote=(
        (pick, "strength", "LoRA strength"), (f"views{key}", "views", "views to draw")))
    gallery = graph.add(f"curate{key}", f"{NAMED}CurateImages", (x + 350, y), (640, 960), {
        "project": (f"save{key}", "project")}, round=number, mode="manual", title=f"Gallery of round {number}")
    return [box, gallery]


def finish(graph: Graph, form: Form, place: tuple[int, int], source: str) -> list[str]:
    """The character LoRA, and the sheet of its strengths."""
    x, y = place
    trained = train(graph, form, 3, place, source, "character", "Train the character LoRA")
    return [trained,
            graph.add("grid", f"{NAMED}StrengthGrid", (x + 430, y), (400, 960), {
                **form.links, "run": (trained, "run"), "prompts": (source, "trigger")}, negative=form.negative,
                rows="strength", columns="prompt", prompt_set="settings" if form.name == SANDBOX else "poses"),
            graph.add("sheet", "PreviewImage", (x + 860, y), (500, 960), {"images": ("grid", "sheet")},
                      title="The sheet")]


# -- templates ---------------------------------------------------------------------------------------------------------


def whole(name: str, form: Form) -> Graph:
    graph = Graph(name)
    graph.group("1 · Your image, your model, and how it is drawn", begin(graph, form))
    graph.group("2 · Round 1: from 4 images to 16", grow(graph, form, 1, (1190, ROW), ("save0", "project"), "data1"))
    graph.group("3 · Round 2: from 16 to 40", grow(graph, form, 2, (0, NEXT_ROW), ("curate1", "project"), "curate1"))
    graph.group("4 · The character LoRA, and its strength", finish(graph, form, (1500, NEXT_ROW), "curate2"))
    base = {SANDBOX: [("base", "picture")], XL: [("image", "image"), ("base", "ckpt_name")], NETWORK: [
        ("image", "image"), *(("model", label) for label in ("diffusion model", "text encoder", "type", "VAE"))]}
    tags = [] if form.name == SANDBOX else [("project", "tags", 120)]
    graph.show_as_app([*base[form.name], *tags, ("project", "trigger"), ("project", "project"),
                       ("curate1", "gallery"), ("curate2", "gallery"), ("train3", "training")], ["sheet"])
    return graph


def show_next(graph: Graph, source: str, columns: int, shown: int) -> None:
    graph.group("3 · For the next part", [graph.add("sheet", f"{NAMED}PreviewDataset", (1500, NEXT_ROW), (420, 960), {
        "dataset": (source, "dataset")}, columns=columns, shown=shown)])


def start_from(graph: Graph, number: int, purpose: str, place: tuple[int, int]) -> str:
    """The training set after a round that was done before."""
    return graph.add("data", f"{NAMED}RoundDataset", place, (340, 220), {"project": ("project", "project")},
                     round=number, purpose=purpose)


def first_part() -> Graph:
    graph = Graph("8 Bootstrap in parts - 1 pick 16")
    graph.group("1 · Your image, your model, and how it is drawn", begin(graph, PARTS))
    graph.group("2 · Round 1: from 4 images to 16", grow(graph, PARTS, 1, (0, NEXT_ROW), ("save0", "project"), "data1"))
    show_next(graph, "curate1", 4, 16)
    return graph


def second_part() -> Graph:
    graph = Graph("8 Bootstrap in parts - 2 pick 40")
    members = begin(graph, PARTS, reference=False)
    graph.group("1 · The project, and how it is drawn", [*members, start_from(graph, 1, "style", (LEFT[2], ROW + 540))])
    graph.group("2 · Round 2: from 16 to 40", grow(graph, PARTS, 2, (0, NEXT_ROW), ("project", "project"), "data"))
    show_next(graph, "curate2", 6, 64)
    return graph


def last_part() -> Graph:
    graph = Graph("8 Bootstrap in parts - 3 character LoRA")
    members, _ = load(graph, PARTS)
    members.append(graph.add("project", f"{NAMED}Project", (LEFT[1], ROW), (400, 950), {
        "picture": ("base", "picture"), "tags": ("base", "tags"), "model": PARTS.model}, trigger=PARTS.trigger))
    graph.group("1 · The project", [*members, start_from(graph, 2, "character", (LEFT[2], ROW))])
    graph.group("2 · The character LoRA, and its strength", finish(graph, PARTS, (0, NEXT_ROW), "data"))
    return graph


def repair() -> Graph:
    graph = Graph("8 Bootstrap in parts - repair one image")
    members, _ = load(graph, PARTS)
    members += [
        graph.add("project", f"{NAMED}Project", (LEFT[1], ROW), (400, 950), {
            "picture": ("base", "picture"), "tags": ("base", "tags"), "model": PARTS.model}, trigger=PARTS.trigger),
        graph.add("curate", f"{NAMED}CurateImages", (LEFT[2], ROW), (640, 950), {"project": ("project", "project")},
                  round=1, mode="manual", title="Gallery of round 1")]
    graph.group("1 · Press Send in the gallery", members)
    y = NEXT_ROW
    graph.group("2 · Your nodes: here image to image", [
        graph.add("candidate", f"{NAMED}LoadCandidate", (0, y), (360, 460)),
        graph.add("encode", "CLIPTextEncode", (420, y), (300, 120), {
            "clip": PARTS.clip, "text": ("candidate", "prompt")}, title="Its prompt"),
        graph.add("negative", "CLIPTextEncode", (420, y + 180), (300, 140), {"clip": PARTS.clip}, text="",
                  title="Negative prompt"),
        graph.add("latent", "VAEEncode", (420, y + 380), (300, 60), {
            "pixels": ("candidate", "image"), "vae": PARTS.vae}),
        graph.add("sample", "KSampler", (780, y), (300, 340), {
            "model": PARTS.model, "positive": ("encode", "CONDITIONING"), "negative": ("negative", "CONDITIONING"),
            "latent_image": ("latent", "LATENT")}, seed=1, control="randomize", steps=16, cfg=3.0,
            sampler_name="euler", scheduler="normal", denoise=0.4),
        graph.add("decode", "VAEDecode", (780, y + 380), (300, 60), {
            "samples": ("sample", "LATENT"), "vae": PARTS.vae})])
    graph.group("3 · Saved beside the old one", [graph.add("save", f"{NAMED}SaveRepaired", (1150, y), (400, 460), {
        "image": ("decode", "IMAGE"), "candidate": ("candidate", "candidate")})])
    return graph


def seed_sweep() -> Graph:
    graph = Graph("8 Bootstrap in parts - seed sweep")
    members = begin(graph, PARTS, reference=False)
    members += [graph.add("seed", "PrimitiveInt", (LEFT[0], ROW + 240), (300, 110), value=1, control="increment",
                          title="Seed, which counts up"),
                start_from(graph, 0, "style", (LEFT[2], ROW + 540))]
    graph.group("1 · The project, and the seed that counts up", members)
    graph.group("2 · Round 1: candidates of more seeds", grow(graph, PARTS, 1, (0, NEXT_ROW), ("project", "project"),
                                                             "data", ("seed", "INT"), count=16))
    return graph


if __name__ == "__main__":
    graphs = [*(whole(name, form) for name, form in FLAGSHIPS.items()), first_part(), second_part(), last_part(),
              repair(), seed_sweep()]
    wanted = [graph for graph in graphs if not sys.argv[2:] or graph.name in sys.argv[2:]]
    make(sys.argv[1].rstrip("/"), wanted, {graph.name: note_of(graph.name) for graph in wanted})
