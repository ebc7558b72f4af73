"""Make the templates that start on a real model, and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_real_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from template_graph import NAMED, Graph, make
from template_parts import GUIDES, Column

XL, NETWORK = "SDXL", "diffusion model"
QUALITY = "masterpiece, best quality, "
NEGATIVE = "worst quality, low quality, bad anatomy, watermark, signature"
FAMILIES = """| diffusion model | CLIP, *type* | VAE |
| --- | --- | --- |
| Z-Image | qwen_3_4b, *lumina2* | ae |
| Krea 2 RAW | qwen3vl_4b, *krea2* | qwen_image |
| Flux.2 klein base | qwen_3_4b (9b: 8b), *flux2* | flux2 |
| Qwen-Image | qwen_2.5_vl_7b, *qwen_image* | qwen_image |
| Anima | qwen_3_06b, *stable_diffusion* | qwen_image |
| Flux.1 dev | DualCLIPLoader: clip_l, t5xxl, *flux* | ae |
"""
TURBO = """Train on the file that is **not** distilled: RAW, base. To see the LoRA on the distilled one (Turbo, klein),
write that file's name into *bases* of *Strength Grid*.
"""
HUB = "https://huggingface.co"
FILES = {
    "sd_xl_base_1.0.safetensors": ("checkpoints", "stabilityai/stable-diffusion-xl-base-1.0/resolve/main"),
    "z_image_bf16.safetensors": ("diffusion_models", "Comfy-Org/z_image/resolve/main/split_files/diffusion_models"),
    "qwen_3_4b.safetensors": ("text_encoders", "Comfy-Org/z_image_turbo/resolve/main/split_files/text_encoders"),
    "ae.safetensors": ("vae", "Comfy-Org/z_image_turbo/resolve/main/split_files/vae"),
}
"""Where the front end offers to download a file that is missing from, as in ComfyUI's own templates."""


@dataclass(frozen=True)
class Form:
    """A way to load a base model, and how prompts for it are worded.

    Attributes:
        load: adds the loaders below a height; returns (their keys, the next free y).
        model, clip, vae: the loaders' outputs.
        trigger: a trigger of this form alone: a project is called by it, and belongs to one image.
    """

    name: str
    load: Callable[[Graph, int], tuple[list[str], int]]
    model: tuple[str, str]
    clip: tuple[str, str]
    vae: tuple[str, str]
    trigger: str
    prompts: tuple[str, ...]
    before: str
    negative: str

    @property
    def links(self) -> dict[str, tuple[str, str]]:
        return {"model": self.model, "clip": self.clip, "vae": self.vae}


def loader(graph: Graph, key: str, kind: str, y: int, height: int, widget: str, file: str, **more: str) -> str:
    """A loader of a file at the left. Below it is room for what the front end says of a missing file."""
    folder, address = FILES[file]
    return graph.add(key, kind, (0, y), (300, height), **{widget: file}, **more,
                     models=[{"name": file, "url": f"{HUB}/{address}/{file}", "directory": folder}])


def load_checkpoint(graph: Graph, y: int) -> tuple[list[str], int]:
    return [loader(graph, "base", "CheckpointLoaderSimple", y, 102, "ckpt_name", "sd_xl_base_1.0.safetensors")], y + 132


def load_parts(graph: Graph, y: int) -> tuple[list[str], int]:
    return [loader(graph, "network", "UNETLoader", y, 86, "unet_name", "z_image_bf16.safetensors"),
            loader(graph, "text", "CLIPLoader", y + 166, 114, "clip_name", "qwen_3_4b.safetensors", type="lumina2"),
            loader(graph, "vae", "VAELoader", y + 360, 62, "vae_name", "ae.safetensors")], y + 452


FORMS = {
    XL: Form(XL, load_checkpoint, ("base", "MODEL"), ("base", "CLIP"), ("base", "VAE"), "mygirlxl", (
        "1girl, front view, upper body, smile, city street, day",
        "1girl, from side, full body, standing, park, sunset",
        "1girl, close-up, open mouth, night, neon lights"), QUALITY, NEGATIVE),
    NETWORK: Form(NETWORK, load_parts, ("network", "MODEL"), ("text", "CLIP"), ("vae", "VAE"), "mygirldm", (
        "smiling in a city street by day, upper body, seen from the front.",
        "standing in a park at sunset, full body, seen from the side.",
        "laughing, a close-up at night in neon light."), "", ""),
}


# -- train a character -------------------------------------------------------------------------------------------------


TRAIN = """# Train a character LoRA ({name})
1. {choose}
2. Put 15 to 50 images with their .txt captions into a folder in `ComfyUI/input`, and write its name into *Load
   Dataset*. For captions, open the template *5 Prepare and tag a dataset* first.
3. Write a word that has no meaning yet into *Trigger*, and the same word into the *prompts* of *Strength Grid*.
4. Press **Run**.

{captions}

**Look** along each row of the sheet, from *no LoRA* to 1.0. Choose the lowest strength at which she is fully herself
while view, mood and background still follow the prompt.

**Stop & keep** ends early and goes on with the LoRA trained so far. **Cancel** saves the training: run again to
continue. The LoRA is saved in `output/loras`. Press **R**, and choose it in *Load LoRA* of any workflow.

{more}
**More:** [your model]({guides}your_model) ·
[something looks wrong]({guides}troubleshooting)
"""
OF_TAGS = """*Absorb Tags* removes the tags for what always belongs to her, so that the trigger comes to stand for
them. View, mood and background stay in the captions, so that you can still ask for them."""
OF_SENTENCES = """Write captions as sentences that say what changes from image to image (view, pose, place, light,
clothes). Leave out what always belongs to her: the trigger, which is put first, comes to stand for it."""


def train_note(form: Form) -> str:
    if form.name == XL:
        return TRAIN.format(
            guides=GUIDES, name=XL, captions=OF_TAGS,
            choose="Choose your model in *Load Checkpoint*: SDXL, Illustrious, NoobAI or Pony.",
            more="For Krea 2, Flux, Qwen, Z-Image or Anima, open *3 Train a character LoRA (diffusion model)*.\n")
    return TRAIN.format(
        guides=GUIDES, name="diffusion model", captions=OF_SENTENCES,
        choose="Choose the files of your model, and the *type* of *Load CLIP*, by the table below.",
        more=f"""{FAMILIES}
{TURBO}
**Anima** reads tags: put *Absorb Tags* after *Load Dataset*, and write prompts as *{QUALITY}1girl, smile*.
""")


def train_character(form: Form) -> Graph:
    """As narrow as its text can be read when the front end fits it into a window of 1600 x 1000."""
    trigger, high = "mychar", 880
    graph = Graph(f"3 Train a character LoRA ({form.name})", note=((-310, 60), (270, high)))
    loaders, y = form.load(graph, 60)
    left = Column(graph, 0, 300, y + 50)
    left.add("trigger", "PrimitiveString", 70, value=trigger, title="Trigger")
    data = 240 if form.name == XL else 60 + high - left.y
    captions = left.add("data", f"{NAMED}LoadDataset", data, folder="my_character")
    if form.name == XL:
        captions = left.add("absorb", f"{NAMED}AbsorbTags", 60 + high - left.y, {
            "dataset": ("data", "dataset"), "trigger": ("trigger", "STRING")}, purpose="character")
    graph.group("1 · Your model and images", [*loaders, *left.members])
    graph.add("train", f"{NAMED}TrainLora", (360, 60), (300, high), {
        **form.links, "dataset": (captions, "dataset"), "name": ("trigger", "STRING"),
        "trigger": ("trigger", "STRING")}, kind="character")
    graph.group("2 · The LoRA", ["train"])
    right = Column(graph, 720, 420)
    right.add("grid", f"{NAMED}StrengthGrid", 500, {**form.links, "run": ("train", "run")},
              prompts="\n".join(f"{form.before}{trigger}, {text}" for text in form.prompts), negative=form.negative,
              rows="prompt", columns="strength")
    right.add("sheet", "PreviewImage", 60 + high - right.y, {"images": ("grid", "sheet")}, title="The sheet")
    graph.group("3 · Which strength? Same prompts, same seed", right.members)
    loader = form.model[0]
    graph.show_as_app([(loader, "ckpt_name" if form.name == XL else "unet_name"), ("data", "folder"),
                       ("trigger", "value"), ("train", "training", 420), ("grid", "prompts")], ["sheet"])
    return graph


# -- bootstrap a character ---------------------------------------------------------------------------------------------


LOOP = """# Bootstrap a character ({name})
From **one image** of a character to a LoRA of her, in three Runs.

1. {choose}
2. Choose the image in *Load Image*: the whole figure, and nobody else. In *Bootstrap Project*, write **tags** for
   everything it shows, separated by commas, and a **trigger**: a word that has no meaning yet. A project belongs to one
   image. For another image, choose another trigger.
3. Press **Run**. The image is cut into 4 crops and a *style* LoRA is trained on them. It draws 48 candidates from all
   around, and the rest of the workflow waits. **Pick 12** in the gallery of round 1.
4. Press **Run** again: retrained on 16 images, it draws 96 more. **Pick 24** more in the gallery of round 2.
5. Press **Run** again: the *character* LoRA is trained on 40 images. Write the trigger into the *prompts* of *Strength
   Grid*: its sheet shows at which strength to use the LoRA.

In the gallery: the arrow keys move, **K** keeps, **X** rejects, **Z** shows an image large beside the original,
**Ctrl+Z** undoes, **?** shows all keys. *Keep proposed* accepts the proposal. A reload, a restart or Cancel loses
nothing: everything is saved in `output/bootstrap/<name>`.

*Sampling by Model* sets size, steps, cfg and sampler of all *KSamplers*, as the model's family is usually drawn. For
the loop a **cfg of 3 to 5** is best: above that, every round burns a little more. Leave Flux dev at its 1. Link **Load
CLIP Vision** (CLIP or DINOv2) to *Curate Images*. Without it likeness is *not measured*, and you judge by eye.

{more}"""


def loop_note(form: Form) -> str:
    if form.name == XL:
        return LOOP.format(
            name=XL, choose="Choose your model in *Load Checkpoint*: SDXL, Illustrious, NoobAI or Pony.",
            more="For Krea 2, Flux, Qwen, Z-Image or Anima, open *4 Bootstrap a character (diffusion model)*.\n")
    return LOOP.format(
        name="diffusion model",
        choose="Choose the files of your model, and the *type* of *Load CLIP*, by the table below.",
        more=f"{FAMILIES}\n{TURBO}")


def bootstrap(form: Form) -> Graph:
    graph = Graph(f"4 Bootstrap a character ({form.name})")
    loaders, y = form.load(graph, 60)
    members = [*loaders, graph.add("image", "LoadImage", (0, y + 50), (300, 360), image="example.png")]
    graph.add("project", f"{NAMED}Project", (330, 60), (420, 860), {
        "picture": ("image", "IMAGE"), "model": form.model}, trigger=form.trigger)
    graph.add("figures", f"{NAMED}SamplingByModel", (900, 60), (360, 262), {"model": form.model, "vae": form.vae})
    graph.add("negative", "CLIPTextEncode", (900, 372), (360, 110), {"clip": form.clip}, text=form.negative,
              title="Negative prompt")
    graph.add("latent", "EmptyLatentImage", (900, 532), (360, 106), {
        "width": ("figures", "width"), "height": ("figures", "height")}, batch_size=1)
    members += ["project", "figures", "negative", "latent"]
    members += draw(graph, form, 0, (1290, 60), "project", form.model, form.clip)
    graph.group("1 · Your model and your image, and what the model draws by itself", members)
    graph.group("2 · Round 1: from 4 to 16", grow(graph, form, 1, 1740, "save0"))
    graph.group("3 · Round 2: from 16 to 40", grow(graph, form, 2, 3330, "curate1"))
    graph.group("4 · The character LoRA, and its strength", finish(graph, form, 4920, "curate2"))
    return graph


def draw(graph: Graph, form: Form, number: int, place: tuple[int, int], project: str, model: tuple[str, str],
         clip: tuple[str, str]) -> list[str]:
    """View prompts, a sampler of the host's own nodes with the model's figures, and Save Candidates."""
    (x, y), key = place, str(number)
    more = {"dataset": (f"data{key}", "dataset")} if number else {}
    graph.add(f"views{key}", f"{NAMED}ViewPrompts", (x, y), (360, 330), {"project": (project, "project"), **more},
              round=number, before=form.before.removesuffix(", "))
    graph.add(f"encode{key}", "CLIPTextEncode", (x, y + 380), (360, 88), {
        "clip": clip, "text": (f"views{key}", "prompt")})
    graph.add(f"sample{key}", "KSampler", (x, y + 518), (360, 262), {
        "model": model, "positive": (f"encode{key}", "CONDITIONING"), "negative": ("negative", "CONDITIONING"),
        "latent_image": ("latent", "LATENT"), "seed": (f"views{key}", "seed"),
        **{name: ("figures", name) for name in ("steps", "cfg", "sampler_name", "scheduler")}}, denoise=1.0)
    graph.add(f"decode{key}", "VAEDecode", (x, y + 830), (360, 46), {
        "samples": (f"sample{key}", "LATENT"), "vae": form.vae})
    stack = {"LORA_STACK": (f"pick{key}", "LORA_STACK")} if number else {}
    graph.add(f"save{key}", f"{NAMED}SaveCandidates", (x, y + 926), (360, 340), {
        "project": (project, "project"), "views": (f"views{key}", "views"), "images": (f"decode{key}", "IMAGE"),
        **stack})
    return [f"{part}{key}" for part in ("views", "encode", "sample", "decode", "save")]


def train(graph: Graph, form: Form, number: int, left: int, project: str, purpose: str) -> list[str]:
    """The training of round `number`, on the images there are before it."""
    data = graph.add(f"data{number}", f"{NAMED}RoundDataset", (left, 60), (420, 190), {"project": (project, "project")},
                     round=number - 1, purpose=purpose)
    return [data, graph.add(f"train{number}", f"{NAMED}TrainLora", (left, 300), (420, 900), {
        **form.links, "dataset": (data, "dataset"), "name": (data, "run_name"), "trigger": (data, "trigger")},
        kind=purpose)]


def grow(graph: Graph, form: Form, number: int, left: int, before: str) -> list[str]:
    """One round: train a style LoRA on what there is, draw with it, curate."""
    members = train(graph, form, number, left, before, "style")
    pick = graph.add(f"pick{number}", f"{NAMED}PickCheckpoint", (left, 1250), (420, 210), {
        "run": (f"train{number}", "run"), "model": form.model, "clip": form.clip}, strength=0.6)
    members += [pick, *draw(graph, form, number, (left + 470, 60), before, (pick, "MODEL"), (pick, "CLIP"))]
    members.append(graph.add(f"curate{number}", f"{NAMED}CurateImages", (left + 880, 60), (640, 1400), {
        "project": (f"save{number}", "project")}, round=number, mode="manual"))
    return members


def finish(graph: Graph, form: Form, left: int, before: str) -> list[str]:
    """The character LoRA, and the sheet of its strengths."""
    members = train(graph, form, 3, left, before, "character")
    prompts = "\n".join(f"{form.before}{form.trigger}, {text}" for text in form.prompts)
    return [*members,
            graph.add("grid", f"{NAMED}StrengthGrid", (left + 450, 60), (420, 1140), {
                **form.links, "run": ("train3", "run")}, prompts=prompts, negative=form.negative),
            graph.add("sheet", "PreviewImage", (left + 900, 60), (700, 1140), {"images": ("grid", "sheet")},
                      title="The sheet")]


if __name__ == "__main__":
    graphs = [build(form) for form in FORMS.values() for build in (train_character, bootstrap)]
    notes = [write(form) for form in FORMS.values() for write in (train_note, loop_note)]
    make(sys.argv[1].rstrip("/"), graphs, {graph.name: note for graph, note in zip(graphs, notes, strict=True)})
