"""Make the templates that train on a real model, and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_real_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from template_graph import NAMED, Graph, make
from template_parts import DATA, GUIDES, LOADER, Column

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
    "qwen_image_edit_2511_fp8mixed.safetensors": (
        "diffusion_models", "Comfy-Org/Qwen-Image-Edit_ComfyUI/resolve/main/split_files/diffusion_models"),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": (
        "text_encoders", "Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/text_encoders"),
    "qwen_image_vae.safetensors": ("vae", "Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/vae"),
    "flux-2-klein-base-4b.safetensors": (
        "diffusion_models", "Comfy-Org/flux2-klein/resolve/main/split_files/diffusion_models"),
    "flux2-vae.safetensors": ("vae", "Comfy-Org/flux2-dev/resolve/main/split_files/vae"),
}
"""Where the front end offers to download a file that is missing from, as in ComfyUI's own templates."""


@dataclass(frozen=True)
class Form:
    """A way to load a base model, and what stands around its prompts.

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
    XL: Form(XL, load_checkpoint, ("base", "MODEL"), ("base", "CLIP"), ("base", "VAE"), "mygirlxl", QUALITY,
             NEGATIVE),
    NETWORK: Form(NETWORK, load_parts, ("network", "MODEL"), ("text", "CLIP"), ("vae", "VAE"), "mygirldm", "", ""),
}


# -- train a character -------------------------------------------------------------------------------------------------


TRAIN = """# Train a character LoRA ({name})
1. {choose}
2. Put 15 to 50 images with their .txt captions into a folder in `ComfyUI/input`, and write its name into *Load
   Dataset*. For captions, open the template *5 Prepare and tag a dataset* first.
3. Write a word that has no meaning yet into *Trigger*.
4. Press **Run**.

{captions}

**Look** along each row of the sheet, from *no LoRA* to 1.0. Choose the lowest strength at which she is fully herself
while the view still follows the prompt. For other prompts, choose another *prompt_set* in *Strength Grid*.

**Stop & keep** ends early and goes on with the LoRA trained so far. **Cancel** saves the training: run again to
continue. The LoRA is saved in `output/loras`. Press **R**, and choose it in {loader} of any
workflow.

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
            guides=GUIDES, loader=LOADER, name=XL, captions=OF_TAGS,
            choose="Choose your model in *Load Checkpoint*: SDXL, Illustrious, NoobAI or Pony.",
            more="For Krea 2, Flux, Qwen, Z-Image or Anima, open *3 Train a character LoRA (diffusion model)*.\n")
    return TRAIN.format(
        guides=GUIDES, loader=LOADER, name="diffusion model", captions=OF_SENTENCES,
        choose="Choose the files of your model, and the *type* of *Load CLIP*, by the table below.",
        more=f"""{FAMILIES}
{TURBO}
**Anima** reads tags: put *Absorb Tags* after *Load Dataset*.
""")


def train_character(form: Form) -> Graph:
    """As narrow as its text can be read when the front end fits it into a window of 1600 x 1000."""
    trigger, high, note = ("mychar", 940, 270) if form.name == XL else ("mychar", 940, 330)
    graph = Graph(f"3 Train a character LoRA ({form.name})", note=((-40 - note, 60), (note, high)))
    loaders, y = form.load(graph, 60)
    left = Column(graph, 0, 300, y + 50)
    left.add("trigger", "PrimitiveString", 95, value=trigger, title="Trigger")
    data = DATA if form.name == XL else 60 + high - left.y
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
    right.add("grid", f"{NAMED}StrengthGrid", 500, {
        **form.links, "run": ("train", "run"), "prompts": ("trigger", "STRING")}, negative=form.negative,
        rows="prompt", columns="strength", prompt_set="poses")
    right.add("sheet", "PreviewImage", 60 + high - right.y, {"images": ("grid", "sheet")}, title="The sheet")
    graph.group("3 · Which strength? Same prompts, same seed", right.members)
    files = [("base", "ckpt_name")] if form.name == XL else [
        ("network", "unet_name"), ("text", "clip_name"), ("text", "type"), ("vae", "vae_name")]
    graph.show_as_app([*files, ("data", "folder"), ("trigger", "value"), ("train", "training", 420),
                       ("grid", "prompt_set")], ["sheet"])
    return graph


if __name__ == "__main__":
    graphs = [train_character(form) for form in FORMS.values()]
    notes = {graph.name: train_note(form) for graph, form in zip(graphs, FORMS.values(), strict=True)}
    make(sys.argv[1].rstrip("/"), graphs, notes)
