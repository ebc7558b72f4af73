"""Make the templates of LoRA stacks and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_stack_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys

from template_graph import NAMED, Graph, make
from template_parts import GUIDES, Column, Drawn, add_drawing

CHARACTER, STYLE = "akane", "storybook"
PROMPT = f"{CHARACTER}, {STYLE}, 1girl, front view, upper body, smile, blue sky"
BASE = {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE")}
HIGH, BELOW, LOW = 492, 662, 338
"""Height of the upper row, where the lower one begins, and its height."""

TRAINS = """Trains a character LoRA on 20 drawings, and a style LoRA on 16 in a style that the base has never seen, on
the small base model that comes with the pack. Two or three minutes, no download. The two *7 Stack LoRAs* templates
share them, so they are trained once."""
OWN = f"""## With a model and LoRAs of your own
1. Replace *Load Sandbox* with **Load Checkpoint** (MODEL, CLIP, VAE).
2. Delete the nodes that train. Write your LoRAs into one **LoRA Stack**, one per line (*girl : 0.8*), or link a
   **LORA_STACK** from any pack. For runs of your own, put **Load Run** in place of *Train LoRA*.
3. Write their trigger words into *prompt*. The output *triggers* of *LoRA Stack* lists those that the files contain.

**More:** [the words]({GUIDES}words) · [something looks wrong]({GUIDES}troubleshooting)"""

NOTES = {
    "7 Stack LoRAs": f"""# Stack LoRAs
Combine a character LoRA with a style LoRA.

1. Press **Run**. {TRAINS}
2. **Look** on the right: the same prompt and seeds, above with the stack, below without it. Green eyes, red hair, fox
   ears and a tail with a blue tip come from the character. The broad pen and the faded colours come from the storybook
   style. The base knows neither word.

The first *LoRA Stack* holds the character at 0.8, the second adds the style at 0.5. *Apply LoRA Stack* does the same as
one *Load LoRA* after the other.

A *LoRA Stack* warns you of what the guides advise against: more than three LoRAs, strengths that sum to more than 1.8,
a style stronger than the character. Set the style's *run_strength* to 1.2 and run again, and see why.

{OWN}
""",
    "7 Stack LoRAs - check and mend a conflict": f"""# Check and mend a conflict
What if two LoRAs override each other? Here both are strong: the character at 1, the style at 0.8.

1. Press **Run**. {TRAINS}
2. **Conflict Report** measures them from their files alone: how much they react to the same inputs (*kappa*), and how
   much of each one's output the other overwrites. The verdict is *fine*, *strengths* (others mend it, and are named)
   or *merge*. The heat map shows which blocks conflict.
3. **Look** on the right, four seeds. *Above*, the plain stack: her eyes should be green, and most are grey or brown.
   *In the middle*, merged: they are green again, and lines and colours are still the storybook's. *Below*, split in
   time: eyes and the blue tip of her tail are right, and the yellowed paper is mostly gone.

**Merge LoRAs** makes one file, in which each LoRA can give way where the other matters most. *identity_first* protects
the character, with *mu* 1000 completely.

**Time Split** lets the style count in the early steps, when the lines form, and fade to 0.3 by half-time. On your model
it may be the reverse: try the presets.

Both cost some of the style: keep the plain stack where it is good enough.

{OWN}
""",
}


def begin(name: str, width: int, room: int = 20, note: tuple[tuple[int, int], tuple[int, int]] = (
        (-290, 60), (250, 940))) -> Graph:
    """The base, and the two runs, in the upper row: `room` between two columns."""
    graph = Graph(name, note=note)
    hers = Column(graph, 0, width)
    hers.add("base", f"{NAMED}LoadSandbox", 166, picture=CHARACTER)
    hers.add("hers", f"{NAMED}LoadDataset", HIGH - 216, folder=f"sandbox/dataset/{CHARACTER}")
    step = width + room
    graph.add("absorb", f"{NAMED}AbsorbTags", (step, 60), (width, HIGH), {"dataset": ("hers", "dataset")},
              purpose="character", trigger=CHARACTER)
    train(graph, "character", "absorb", 2 * step, width, name="stack_akane", trigger=CHARACTER, kind="character",
          steps=200)
    graph.group("1 · The character", ["base", "hers", "absorb", "character"])
    x = 3 * step + 40
    graph.add("drawings", f"{NAMED}LoadDataset", (x, 60), (width, HIGH), folder=f"sandbox/dataset/{STYLE}",
              trigger=STYLE)
    train(graph, "style", "drawings", x + step, width, name="stack_storybook", trigger=STYLE, kind="style")
    graph.group("2 · The style", ["drawings", "style"])
    return graph


def train(graph: Graph, key: str, data: str, x: int, width: int, **widgets: object) -> None:
    graph.add(key, f"{NAMED}TrainLora", (x, 60), (width, HIGH), {**BASE, "dataset": (data, "dataset")}, **widgets,
              title=f"Train LoRA: the {key}")


def stack(graph: Graph, strengths: tuple[float, float], first: Column, second: Column, height: int) -> list[str]:
    """The two runs as one stack, that of the second node."""
    first.add("first", f"{NAMED}LoraStack", height, {"run": ("character", "run")}, run_strength=strengths[0],
              title="LoRA Stack: the character")
    second.add("stack", f"{NAMED}LoraStack", height, {
        "LORA_STACK": ("first", "LORA_STACK"), "run": ("style", "run")}, run_strength=strengths[1],
        title="LoRA Stack: and the style")
    return ["first", "stack"]


def apply(graph: Graph, key: str, source: str, title: str, place: tuple[int, int] = (0, 0),
          size: tuple[int, int] = (300, 98)) -> str:
    return graph.add(key, f"{NAMED}ApplyLoraStack", place, size, {
        "model": ("base", "MODEL"), "clip": ("base", "CLIP"), "LORA_STACK": (source, "LORA_STACK")}, title=title)


def show(graph: Graph, images: tuple[str, str], x: int, width: int, title: str, height: int = LOW) -> None:
    graph.add("show", "PreviewImage", (x, BELOW), (width, height), {"images": images}, title=title)


def stack_loras() -> Graph:
    width = 250
    graph = begin("7 Stack LoRAs", width)
    first, second = Column(graph, 0, width, BELOW), Column(graph, width + 20, width, BELOW)
    members = stack(graph, (0.8, 0.5), first, second, LOW)
    members.append(apply(graph, "apply", "stack", "Apply LoRA Stack", (540, BELOW), (230, LOW)))
    graph.group("3 · Both as one stack", members)
    column = Column(graph, 830, width, BELOW)
    images = add_drawing(column, "draw", "Draw with the stack and without", [
        Drawn("with the stack", ("apply", "MODEL"), ("apply", "CLIP"), ("base", "CLIP")),
        Drawn("the base alone", ("base", "MODEL"), ("base", "CLIP"), ("base", "CLIP"))], prompt=PROMPT,
        base=("base", "MODEL"), vae=("base", "VAE"), height=LOW)
    show(graph, images, 1100, 270, "Above with the stack, below without")
    graph.group("4 · Compare: same prompt, same seeds", ["draw", "show"])
    return graph


def mend() -> Graph:
    width, tall = 225, 470
    graph = begin("7 Stack LoRAs - check and mend a conflict", width, 15, note=((-280, 60), (240, 1010)))
    members = stack(graph, (1.0, 0.8), Column(graph, 0, width, BELOW), Column(graph, 240, width, BELOW), tall)
    report = Column(graph, 480, width, BELOW)
    report.add("report", f"{NAMED}ConflictReport", 180, {"LORA_STACK": ("stack", "LORA_STACK")})
    report.add("heat", "PreviewImage", tall - 230, {"images": ("report", "heat_map")},
               title="The heat map, and the advice")
    graph.group("3 · Do they conflict?", [*members, *report.members])
    ways = Column(graph, 765, width, BELOW)
    ways.add("merge", f"{NAMED}MergeLoras", 220, {"LORA_STACK": ("stack", "LORA_STACK")}, method="null_space",
             preset="identity_first", mu=1000, name="akane_in_storybook")
    ways.add("split", f"{NAMED}TimeSplit", tall - 270, {"clip": ("base", "CLIP"), "LORA_STACK": (
        "stack", "LORA_STACK")}, preset="custom", character_start=1.0, character_end=1.0, style_start=1.0,
        style_end=0.3, until=0.5)
    graph.group("4 · Two ways to mend it", ways.members)
    applied = [apply(graph, "apply", "stack", "Apply LoRA Stack: as it is", (-360, 60)),
               apply(graph, "apply merged", "merge", "Apply LoRA Stack: merged", (-360, 520))]
    images = add_drawing(Column(graph, 1050, width, BELOW), "draw", "Draw all three", [
        Drawn("the plain stack", ("apply", "MODEL"), ("apply", "CLIP"), ("base", "CLIP")),
        Drawn("merged", ("apply merged", "MODEL"), ("apply merged", "CLIP"), ("base", "CLIP")),
        Drawn("split in time", ("base", "MODEL"), ("split", "CLIP"), ("split", "CLIP"))], prompt=PROMPT,
        base=("base", "MODEL"), vae=("base", "VAE"), height=tall, before=applied,
        labels={"LORA_STACK": "stack", "LORA_STACK_1": "merged", "clip_1": "split clip"})
    show(graph, images, 1290, width, "Plain, merged, split in time", tall)
    graph.group("5 · Compare: same prompt, same seeds", ["draw", "show"])
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), (stack_loras(), mend()), NOTES)
