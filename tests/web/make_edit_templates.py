"""Make the templates that bootstrap with an edit model, and their API twins, serialized by the real front end.

Start a host with this pack and an empty base directory, then, from the repository's folder:
python tests/web/make_edit_templates.py http://127.0.0.1:8188
Look at each in both renderers afterwards, and record object_info again (tests/nodes/record_object_info.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from make_bootstrap_templates import LEFT, ROW, draw_round, finish, load, share_drawing, train
from make_real_templates import FORMS, XL, Form, loader
from template_graph import NAMED, Graph, make

QWEN, KLEIN = "Qwen-Image-Edit", "FLUX.2 Klein"
NEXT_ROW = 1330
"""Height at which the second row of groups begins: two models and an image are higher than one."""
TARGETS, CANDIDATES = "4, 29", "60"
"""25 views beside the 4 crops. The first crop is the whole image: without the third, the face, close-ups would be drawn
from that too."""
EDITOR, LARGER = ("editor", "editor clip", "editor vae"), 1.0
"""Loaders of an edit model that is not the one that is trained; megapixels at which it is shown an image."""


# -- the models --------------------------------------------------------------------------------------------------------


def load_klein(graph: Graph, y: int) -> tuple[list[str], int]:
    return [loader(graph, "network", "UNETLoader", y, 86, "unet_name", "flux-2-klein-base-4b.safetensors"),
            loader(graph, "text", "CLIPLoader", y + 166, 114, "clip_name", "qwen_3_4b.safetensors", type="flux2"),
            loader(graph, "vae", "VAELoader", y + 360, 62, "vae_name", "flux2-vae.safetensors")], y + 452


def load_qwen_edit(graph: Graph) -> str:
    """The box of the edit model, with what its sampling needs."""
    network, text, vae = EDITOR
    members = [
        loader(graph, network, "UNETLoader", ROW, 86, "unet_name", "qwen_image_edit_2511_fp8mixed.safetensors"),
        loader(graph, text, "CLIPLoader", ROW + 166, 114, "clip_name", "qwen_2.5_vl_7b_fp8_scaled.safetensors",
               type="qwen_image"),
        loader(graph, vae, "VAELoader", ROW + 360, 62, "vae_name", "qwen_image_vae.safetensors"),
        graph.add("shift", "ModelSamplingAuraFlow", (360, ROW), (300, 60), {"model": (network, "MODEL")}, shift=3.1),
        graph.add("norm", "CFGNorm", (360, ROW + 166), (300, 60), {"model": ("shift", "MODEL")}, strength=1.0)]
    return graph.subgraph("edit model", "The edit model", members, (LEFT[0], ROW), (300, 210), promote=(
        (network, "unet_name", "diffusion model"), (text, "clip_name", "text encoder"), (vae, "vae_name", "VAE")),
        labels={"patched_model": "MODEL"})


# -- how a view is drawn -----------------------------------------------------------------------------------------------


def edit_by_qwen(graph: Graph) -> list[str]:
    """The text encoder sees the view's reference and the whole original, for the prompt and against it."""
    views, (_, clip, vae) = "views1", EDITOR
    members = [
        graph.add("scale", "FluxKontextImageScale", (420, ROW), (300, 40), {"image": (views, "reference")},
                  title="The reference, about 1 megapixel"),
        graph.add("size", "GetImageSize", (420, ROW + 120), (300, 80), {"image": ("scale", "IMAGE")}),
        graph.add("size latent", "EmptySD3LatentImage", (420, ROW + 280), (300, 110), {
            "width": ("size", "width"), "height": ("size", "height")}, batch_size=1)]
    for at, (key, title, text) in enumerate((("positive", "The view", {"prompt": (views, "prompt")}),
                                             ("against", "Empty prompt", {}))):
        members += [
            graph.add(key, "TextEncodeQwenImageEditPlus", (780, ROW + 420 * at), (340, 200), {
                "clip": (clip, "CLIP"), "vae": (vae, "VAE"), "image1": ("scale", "IMAGE"),
                "image2": (views, "original"), **text}, title=title),
            graph.add(f"{key} method", "FluxKontextMultiReferenceLatentMethod", (780, ROW + 260 + 420 * at), (340, 60),
                      {"conditioning": (key, "CONDITIONING")}, reference_latents_method="index_timestep_zero")]
    return [*members,
            graph.add("sample", "KSampler", (1180, ROW), (320, 300), {
                "model": ("norm", "patched_model"), "positive": ("positive method", "CONDITIONING"),
                "negative": ("against method", "CONDITIONING"), "latent_image": ("size latent", "LATENT"),
                "seed": (views, "seed")}, steps=40, cfg=3.0, sampler_name="euler", scheduler="simple", denoise=1.0),
            graph.add("decode", "VAEDecode", (1180, ROW + 380), (320, 60), {
                "samples": ("sample", "LATENT"), "vae": (vae, "VAE")})]


def edit_by_klein(graph: Graph) -> list[str]:
    """The view's reference and the whole original stand beside the prompt, and against it, as latents."""
    views, clip, vae = "views1", ("text", "CLIP"), ("vae", "VAE")
    members = []
    for at, name in enumerate(("reference", "original")):
        y = ROW + 330 * at
        members += [
            graph.add(f"{name} scale", "ImageScaleToTotalPixels", (420, y), (300, 110), {"image": (views, name)},
                      upscale_method="lanczos", megapixels=LARGER, resolution_steps=16, title=f"The {name}"),
            graph.add(f"{name} latent", "VAEEncode", (420, y + 190), (300, 60), {
                "pixels": (f"{name} scale", "IMAGE"), "vae": vae})]
    for at, (key, title, text) in enumerate((("positive", "The view", {"text": (views, "prompt")}),
                                             ("against", "Empty prompt", {}))):
        y, last = ROW + 430 * at, key
        members.append(graph.add(key, "CLIPTextEncode", (780, y), (300, 100), {"clip": clip, **text}, title=title))
        for below, name in enumerate(("reference", "original")):
            members.append(graph.add(f"{key} {name}", "ReferenceLatent", (780, y + 170 + 130 * below), (300, 60), {
                "conditioning": (last, "CONDITIONING"), "latent": (f"{name} latent", "LATENT")}))
            last = f"{key} {name}"
    return [*members,
            graph.add("size", "GetImageSize", (420, ROW + 660), (300, 80), {"image": ("reference scale", "IMAGE")}),
            graph.add("guider", "CFGGuider", (1140, ROW), (300, 110), {
                "model": ("network", "MODEL"), "positive": ("positive original", "CONDITIONING"),
                "negative": ("against original", "CONDITIONING")}, cfg=4.0),
            graph.add("noise", "RandomNoise", (1140, ROW + 190), (300, 90), {"noise_seed": (views, "seed")}),
            graph.add("sampler", "KSamplerSelect", (1140, ROW + 360), (300, 60), sampler_name="euler"),
            graph.add("sigmas", "Flux2Scheduler", (1140, ROW + 500), (300, 110), {
                "width": ("size", "width"), "height": ("size", "height")}, steps=20),
            graph.add("size latent", "EmptyFlux2LatentImage", (1140, ROW + 690), (300, 110), {
                "width": ("size", "width"), "height": ("size", "height")}, batch_size=1),
            graph.add("sample", "SamplerCustomAdvanced", (1500, ROW), (300, 130), {
                "noise": ("noise", "NOISE"), "guider": ("guider", "GUIDER"), "sampler": ("sampler", "SAMPLER"),
                "sigmas": ("sigmas", "SIGMAS"), "latent_image": ("size latent", "LATENT")}),
            graph.add("decode", "VAEDecode", (1500, ROW + 210), (300, 60), {
                "samples": ("sample", "output"), "vae": vae})]


@dataclass(frozen=True)
class Edit:
    """An edit model, and the model that is trained on its views.

    Attributes:
        form: the model that is trained.
        load_editor: adds the box of an edit model of its own; None if the model that is trained draws the views too.
        draw: adds the nodes between *View Prompts* and *Save Candidates*.
        figures: the nodes in which steps and cfg are set.
    """

    form: Form
    load_editor: Callable[[Graph], str] | None
    draw: Callable[[Graph], list[str]]
    figures: tuple[str, str]


EDITS = {
    QWEN: Edit(replace(FORMS[XL], trigger="mygirlqe"), load_qwen_edit, edit_by_qwen, ("sample", "sample")),
    KLEIN: Edit(Form(KLEIN, load_klein, ("network", "MODEL"), ("text", "CLIP"), ("vae", "VAE"), "mygirlke", "", ""),
                None, edit_by_klein, ("sigmas", "guider")),
}


# -- the template ------------------------------------------------------------------------------------------------------


def begin(graph: Graph, edit: Edit) -> list[str]:
    """The models, the image, and the project."""
    members, y = load(graph, edit.form)
    y += 20
    if edit.load_editor:
        y = ROW + 260
        graph.nodes["base"] |= {"pos": (LEFT[0], y)}
        graph.nodes["base"]["widgets"]["title"] = "The model to train"
        members.insert(0, edit.load_editor(graph))
        y += 182
    return [*members,
            graph.add("image", "LoadImage", (LEFT[0], y), (300, 280), image="example.png"),
            graph.add("tag", f"{NAMED}TagImages", (LEFT[0], y + 380), (300, 280), {"images": ("image", "IMAGE")},
                      tagger="wd-swinv2-tagger-v3", bypassed=True, title="Tag Images (off: Ctrl+B)"),
            graph.add("project", f"{NAMED}Project", (LEFT[1], ROW), (400, 950), {
                "picture": ("image", "IMAGE"), "proposed": ("tag", "tags"), "model": edit.form.model},
                trigger=edit.form.trigger, targets=TARGETS, candidates=CANDIDATES)]


def draw_views(graph: Graph, edit: Edit, place: tuple[int, int]) -> list[str]:
    """The views that the edit model draws, each from its own reference, and their gallery."""
    x, y = place
    steps, cfg = edit.figures
    views = graph.add("views1", f"{NAMED}ViewPrompts", (0, ROW), (360, 440), {"project": ("project", "project")},
                      round=1, wording="edit instruction")
    inner = edit.draw(graph)
    right = max(graph.nodes[key]["pos"][0] for key in inner) + 380
    save = graph.add("save1", f"{NAMED}SaveCandidates", (right, ROW), (360, 440), {
        "project": ("project", "project"), "views": (views, "views"), "images": ("decode", "IMAGE")})
    return [graph.subgraph("draw1", "Draw the views", [views, *inner, save], place, (340, 460), promote=(
                (views, "views", "views to draw"), (steps, "steps", "steps"), (cfg, "cfg", "cfg"))),
            graph.add("curate1", f"{NAMED}CurateImages", (x + 400, y), (640, 950), {"project": (save, "project")},
                      round=1, mode="manual", title="Gallery of the views")]


def draw_on(graph: Graph, form: Form, place: tuple[int, int]) -> list[str]:
    """Round 2, drawn by the LoRA of round 1. It is off."""
    x, y = place
    box, gallery = draw_round(graph, form, 2, (x + 390, y), ("curate1", "project"), "train3", "curate1")
    members = [share_drawing(graph, form, place), box, gallery,
               train(graph, form, 4, (x + 1430, y), "curate2", "character", "Train the character LoRA on both rounds")]
    graph.bypass(members)
    return members


def bootstrap(name: str, edit: Edit) -> Graph:
    """One image → 25 views by the edit model → the character LoRA."""
    graph = Graph(f"4 Bootstrap with an edit model ({name})")
    graph.group("1 · Your image, and your models" if edit.load_editor else "1 · Your image, and your model",
                begin(graph, edit))
    graph.group("2 · 25 views, drawn from your image", draw_views(graph, edit, (LEFT[2] + 20, ROW)))
    graph.group("3 · The character LoRA, and its strength", finish(graph, edit.form, (0, NEXT_ROW), "curate1"))
    graph.group("4 · Round 2, drawn by the LoRA (off)", draw_on(graph, edit.form, (1420, NEXT_ROW)))
    files = [("edit model", label) for label in ("diffusion model", "text encoder", "VAE")] if edit.load_editor else []
    base = [("base", "ckpt_name")] if edit.load_editor else [
        ("model", label) for label in ("diffusion model", "text encoder", "type", "VAE")]
    graph.show_as_app([("image", "image"), *files, *base, ("project", "tags", 120), ("project", "trigger"),
                       ("project", "project"), ("curate1", "gallery"), ("train3", "training")], ["sheet"])
    return graph


# -- the notes ---------------------------------------------------------------------------------------------------------


NOTE = """# Bootstrap with an edit model ({name})
From **one image** of a character to a LoRA of her, in two Runs. An edit model draws the views.

1. {choose}
2. Choose the image in *Load Image*: the whole figure, and nobody else. In *Bootstrap Project*, write **tags** for
   everything it shows, and a **trigger**: a word that has no meaning yet. Or turn on *Tag Images* (Ctrl+B).
3. Press **Run**. 60 views are drawn. **Pick 25** in *Gallery of the views*: **K** keeps, **X** rejects, **Z** shows an
   image large beside the original, **?** shows all keys.
4. Press **Run** again: the *character* LoRA is trained on the 25 views and 4 crops of your image. *The sheet* shows it
   at each strength.

**Draw the views** is where steps and cfg are set, and, inside, which views are drawn. Each is drawn from its own
*reference*, a close-up from the crop of the face, with the whole image beside it. Views that did not turn, or whose
colours shifted, are refused. Link **Load CLIP Vision** to the gallery: without it likeness is *not measured*.

**Which model to train?** {base}

**Faster:** {fast}

## A service in place of the edit model
In **Draw the views**, put an API node (Nano Banana, GPT Image) between the first node and the last. Link *prompt*,
*seed* and *reference* of *View Prompts* to its prompt, seed and image, and what it draws to *Save Candidates*. Each
view is paid for once.

## Round 2, drawn by the LoRA
For more poses and styles: after step 4, set *targets* to 4, 29, 53 and *candidates* to 60, 96, select
group 4 and press Ctrl+B. Press **Run**: the LoRA of group 3 is trained anew with her tags in the captions, and draws 96
more. Pick 24 and press **Run**. The last LoRA has *-2* in its name. To see it in *The sheet*, link its *run* to
*Strength Grid*.
"""
WORDS = {
    QWEN: {
        "choose": """In **The edit model**, choose the files of Qwen-Image-Edit 2511. In *The model to train*, choose
   SDXL, Illustrious, NoobAI or Pony.""",
        "base": """The edit model is too large to be trained on a card of 12 to 24 GB. SDXL is not. For Z-Image, Krea 2
or Anima, put *Load Diffusion Model*, *Load CLIP* and *Load VAE* in its place.""",
        "fast": """open **The edit model**, put a Lightning LoRA before the last node, and set steps to 4 and cfg to 1.
For 2509, bypass both *Edit Model Reference Method* in **Draw the views**."""},
    KLEIN: {
        "choose": """In **Your model**, choose the files of FLUX.2 Klein **base**, 4B or 9B. It needs a ComfyUI newer
   than 0.8.""",
        "base": """The same one. Klein base draws edits too, and 4B is trained on a card of 12 to 24 GB. For another,
link its loaders to *Bootstrap Project*, *Train LoRA* and *Strength Grid*.""",
        "fast": """open **Draw the views**, link *Load Diffusion Model* with the distilled Klein (without *base*) to its
*CFGGuider*, and set steps to 4 and cfg to 1. Do not train on that one."""},
}
NOTES = {f"4 Bootstrap with an edit model ({name})": NOTE.format(name=name, **words)
         for name, words in WORDS.items()}


if __name__ == "__main__":
    make(sys.argv[1].rstrip("/"), [bootstrap(name, edit) for name, edit in EDITS.items()], NOTES)
