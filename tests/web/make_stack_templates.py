"""Make the templates of LoRA stacks and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_stack_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys

from template_graph import NAMED, Graph, make

CHARACTER, STYLE = "akane", "storybook"
PROMPT = f"{CHARACTER}, {STYLE}, 1girl, front view, upper body, smile, blue sky"
SAMPLED = {"seed": 7, "steps": 16, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
TALL = 1116
"""Height of the columns."""

TRAINS = """Press **Run**. A character LoRA is trained on 20 drawings, and a style LoRA on 16 drawings in a style that
the base model has never seen. It runs on the small base model that comes with the pack, takes two or three minutes,
and downloads nothing. *7 Stack LoRAs* and
*7 Stack LoRAs - check and mend a conflict* share the two LoRAs, so they are trained once."""
OWN = """## With a model and LoRAs of your own
1. Replace *Load Sandbox* with **Load Checkpoint** (MODEL, CLIP, VAE).
2. Delete the nodes that train. Write your LoRAs into one **LoRA Stack**, one per line (*girl : 0.8*), or link a
   **LORA_STACK** from any pack. For runs of your own, put **Load Run** in place of *Train LoRA*."""
OWN_SIZE = "Set *Empty Latent Image* and *KSampler* as usual for that model."
SMALL = """*The sandbox draws 64-pixel images. Its VAE has 4 pixels per latent, not 8, so an empty latent of 128 px
gives 64 px.*
"""

NOTES = {
    "7 Stack LoRAs": f"""# Stack LoRAs
Combine a character LoRA with a style LoRA. {TRAINS}

The first *LoRA Stack* holds the character at 0.8. The second takes that stack and adds the style at 0.5. *Apply LoRA
Stack* does the same as one *Load LoRA* node after the other.

**Look** on the right: the same prompt and seed with the stack and without it. Green eyes, red hair, fox ears and a
tail with a blue tip come from the character; the broad pen and the faded colours come from the storybook style. The
base model knows neither word, so it draws anybody, in any style.

Each *LoRA Stack* shows what is in it and which of the guides' rules it breaks: at most three LoRAs, strengths that sum
to at most 1.8, the character the strongest, 0.7 to begin with. This stack breaks none. Set the style's *run_strength*
to 1.2 and run again: now the node warns you, and the image shows why.

{OWN}
3. Write their trigger words into *Prompt*. The output *triggers* lists those that the files contain.
4. {OWN_SIZE}

{SMALL}""",
    "7 Stack LoRAs - check and mend a conflict": f"""# Check and mend a conflict
What if two LoRAs override each other? {TRAINS} Here both are strong: the character at 1, the style at 0.8.

**Conflict Report** measures them from their files alone: how much they react to the same inputs (*kappa*), and how much
of each one's output the other overwrites. The verdict is *fine*, *strengths* (other strengths fix it, and are named) or
*merge* (no strengths do). The heat map shows which blocks conflict, the table every figure. You see more than the files
do: according to the files the style suffers, but in the images her eyes do.

**Merge LoRAs** makes one file of both, in which each LoRA can give way where the other matters most. *identity_first*
protects the character, with *mu* 1000 completely. The default, *balanced* at 0.5, gives way too little for these two.

**Time Split** uses the LoRAs at different times. Here the style counts in the early steps, when the lines form, and
fades to 0.3 by half-time, so that the character keeps her colours. On your model it may be the reverse: try the
presets.

**Look** on the right: the same prompt and seed, three times. Merging and splitting cost some of the style, so keep the
plain stack where it is good enough.

{OWN}
3. Write their trigger words into *Prompt*.
4. {OWN_SIZE}

{SMALL}""",
}
LOOK = {
    "plain": """**The plain stack.** Look at her eyes: they should be green. At these strengths the style overrides
them, and most are grey or brown.""",
    "merged": """**Merged.** The style gives way where the character matters most: her eyes are green again, except
for one or two, and the lines and colours are still the storybook's.""",
    "split": """**Split in time.** Her eyes and the blue tip of her tail are right in every image. The broad pen is
still there; the yellowed paper is mostly gone.""",
}


def begin(name: str) -> Graph:
    """The base, and the two runs."""
    graph = Graph(name)
    trained = {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE")}
    graph.add("base", f"{NAMED}LoadSandbox", (0, 60), (420, 138), picture=CHARACTER)
    graph.add("hers", f"{NAMED}LoadDataset", (0, 300), (420, 178), folder=f"sandbox/dataset/{CHARACTER}")
    graph.add("absorb", f"{NAMED}AbsorbTags", (0, 590), (420, 586), {"dataset": ("hers", "dataset")},
              purpose="character", trigger=CHARACTER)
    graph.add("character", f"{NAMED}TrainLora", (450, 60), (420, TALL), {**trained, "dataset": ("absorb", "dataset")},
              name="stack_akane", trigger=CHARACTER, kind="character", steps=200, title="Train LoRA: the character")
    graph.group("1 · The character", ["base", "hers", "absorb", "character"])
    graph.add("drawings", f"{NAMED}LoadDataset", (940, 60), (420, 178), folder=f"sandbox/dataset/{STYLE}",
              trigger=STYLE)
    graph.add("sheet", f"{NAMED}PreviewDataset", (940, 350), (420, 826), {"dataset": ("drawings", "dataset")},
              columns=4)
    graph.add("style", f"{NAMED}TrainLora", (1390, 60), (420, TALL), {**trained, "dataset": ("sheet", "dataset")},
              name="stack_storybook", trigger=STYLE, kind="style", title="Train LoRA: the style")
    graph.group("2 · The style", ["drawings", "sheet", "style"])
    return graph


def stack(graph: Graph, strengths: tuple[float, float], x: int) -> list[str]:
    """The two runs as one stack, that of the second node."""
    graph.add("first", f"{NAMED}LoraStack", (x, 60), (420, 400), {"run": ("character", "run")},
              run_strength=strengths[0], title="LoRA Stack: the character")
    graph.add("stack", f"{NAMED}LoraStack", (x, 550), (420, 400), {
        "LORA_STACK": ("first", "LORA_STACK"), "run": ("style", "run")}, run_strength=strengths[1],
        title="LoRA Stack: and the style")
    return ["first", "stack"]


def apply(graph: Graph, key: str, source: str, place: tuple[int, int], title: str) -> str:
    return graph.add(key, f"{NAMED}ApplyLoraStack", place, (420, 86), {
        "model": ("base", "MODEL"), "clip": ("base", "CLIP"), "LORA_STACK": (source, "LORA_STACK")}, title=title)


def asked(graph: Graph, x: int) -> list[str]:
    """The prompt and the size, the same for all."""
    graph.add("prompt", "PrimitiveStringMultiline", (x, 60), (400, 140), value=PROMPT, title="Prompt")
    graph.add("latent", "EmptyLatentImage", (x, 290), (400, 106), width=128, height=128, batch_size=4,
              title="Empty Latent Image (sandbox: makes 64 px)")
    graph.add("negative", "CLIPTextEncode", (x, 486), (400, 110), {"clip": ("base", "CLIP")}, text="",
              title="Negative prompt")
    return ["prompt", "latent", "negative"]


def draw(graph: Graph, key: str, model: tuple[str, str], clip: tuple[str, str], place: tuple[int, int], title: str,
         negative: str = "negative") -> list[str]:
    """From a model to its four pictures, in one column."""
    x, y = place
    graph.add(f"{key} text", "CLIPTextEncode", (x, y), (500, 88), {"clip": clip, "text": ("prompt", "STRING")},
              title=f"Prompt: {title}")
    graph.add(f"{key} sample", "KSampler", (x, y + 138), (500, 262), {
        "model": model, "positive": (f"{key} text", "CONDITIONING"), "negative": (negative, "CONDITIONING"),
        "latent_image": ("latent", "LATENT")}, **SAMPLED, title=f"KSampler: {title}")
    graph.add(f"{key} decode", "VAEDecode", (x, y + 450), (225, 46), {
        "samples": (f"{key} sample", "LATENT"), "vae": ("base", "VAE")})
    graph.add(f"{key} larger", "ImageScaleToTotalPixels", (x + 235, y + 450), (265, 106), {
        "image": (f"{key} decode", "IMAGE")}, upscale_method="lanczos", megapixels=1.0, title="Enlarge for looking")
    graph.add(f"{key} show", "PreviewImage", (x, y + 606), (500, 510), {"images": (f"{key} larger", "IMAGE")},
              title=title)
    return [f"{key} {part}" for part in ("text", "sample", "decode", "larger", "show")]


def stack_loras() -> Graph:
    graph = begin("7 Stack LoRAs")
    members = stack(graph, (0.8, 0.5), 1880)
    members.append(apply(graph, "apply", "stack", (1880, 1040), "Apply LoRA Stack"))
    graph.group("3 · Both as one stack", members)
    members = asked(graph, 2370)
    members += draw(graph, "with", ("apply", "MODEL"), ("apply", "CLIP"), (2820, 60), "With the stack")
    members += draw(graph, "without", ("base", "MODEL"), ("base", "CLIP"), (3370, 60), "The base alone")
    graph.group("4 · Compare: same prompt, same seed", members)
    return graph


def mend() -> Graph:
    graph = begin("7 Stack LoRAs - check and mend a conflict")
    members = stack(graph, (1.0, 0.8), 1880)
    members += [
        graph.add("report", f"{NAMED}ConflictReport", (2330, 60), (620, 470), {"LORA_STACK": ("stack", "LORA_STACK")}),
        graph.add("table", "PreviewImage", (2330, 620), (620, 556), {"images": ("report", "table")},
                  title="Block by block"),
        graph.add("heat", "PreviewImage", (2980, 60), (1000, TALL), {"images": ("report", "heat_map")},
                  title="The heat map, and the advice")]
    graph.group("3 · Do they conflict?", members)
    x = 4050
    members = [
        apply(graph, "apply", "stack", (x, 60), "Apply LoRA Stack: as it is"),
        graph.add("merge", f"{NAMED}MergeLoras", (x, 240), (420, 480), {"LORA_STACK": ("stack", "LORA_STACK")},
                  method="null_space", preset="identity_first", mu=1000, name="akane_in_storybook"),
        apply(graph, "apply merged", "merge", (x, 810), "Apply LoRA Stack: merged"),
        graph.add("split", f"{NAMED}TimeSplit", (x + 450, 60), (420, 400), {
            "clip": ("base", "CLIP"), "LORA_STACK": ("stack", "LORA_STACK")}, preset="custom", character_start=1.0,
            character_end=1.0, style_start=1.0, style_end=0.3, until=0.5),
        graph.add("curve", "PreviewImage", (x + 450, 550), (420, 346), {"images": ("split", "curve")},
                  title="Strengths over the steps"),
        graph.add("split negative", "CLIPTextEncode", (x + 450, 986), (420, 110), {"clip": ("split", "CLIP")}, text="",
                  title="Negative prompt, split in time")]
    graph.group("4 · Three ways", members)
    x = 4990
    members = asked(graph, x)
    members += draw(graph, "plain", ("apply", "MODEL"), ("apply", "CLIP"), (x + 450, 60), "The plain stack")
    members += draw(graph, "merged", ("apply merged", "MODEL"), ("apply merged", "CLIP"), (x + 1000, 60), "Merged")
    members += draw(graph, "split", ("base", "MODEL"), ("split", "CLIP"), (x + 1550, 60), "Split in time",
                    "split negative")
    graph.group("5 · Compare: same prompt, same seed", members)
    for key, left in (("plain", 450), ("merged", 1000), ("split", 1550)):
        graph.add(f"{key} note", "MarkdownNote", (x + left, 1270), (500, 130), text=LOOK[key], title="Look")
    return graph


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), (stack_loras(), mend()), NOTES)
