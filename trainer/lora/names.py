"""How LoRA files spell their keys: one table of prefixes and one of endings, used for both reading and writing.

A key is `prefix + path + ending`. The prefix names the network, the path its layer, the ending the tensor and the kind
of adapter. The names of a layer in other layouts of its network are in `layouts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ..common.errors import UserError

DENOISER = "denoiser"
CLIP_L, CLIP_G, T5, OTHER_TEXT = "text_encoder", "text_encoder_2", "text_encoder_3", "text_encoders"
PARTS = (DENOISER, CLIP_L, CLIP_G, T5, OTHER_TEXT)
"""The networks of a model. OTHER_TEXT is any text encoder that only the host has a name for; its paths begin with that
name."""
UNET, TRANSFORMER, ORIGINAL = "unet", "transformer", "diffusion_model"
DENOISERS = (UNET, TRANSFORMER, ORIGINAL)
"""First words of keys that all mean the denoiser: with diffusers' layers of a UNet or of a transformer, or with the
original layers."""


# -- prefixes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prefix:
    """How the keys of a network begin.

    Attributes:
        text: ends with "." if paths keep their dots, with "_" if the dots became underscores.
        tools: the programs that write it, or a description.
        word: for the denoiser, the first word of its keys in `LoraWeights.modules`.
        keep: the part of `text` that belongs to the path.
    """

    text: str
    part: str
    tools: str
    word: str = ""
    keep: str = ""

    @property
    def dotted(self) -> bool:
        return self.text.endswith(".")


PREFIXES = tuple(sorted((
    Prefix("lora_unet_", DENOISER, "kohya sd-scripts, musubi-tuner, LyCORIS, OneTrainer", ORIGINAL),
    Prefix("lora_unet__", DENOISER, "Wan-Fun (comfy/lora_convert.py)", ORIGINAL),
    Prefix("lora_prior_unet_", DENOISER, "OneTrainer, Stable Cascade (comfy/lora.py)", ORIGINAL),
    Prefix("lora_transformer_", DENOISER, "OneTrainer: SD3, Flux, Chroma, PixArt", TRANSFORMER),
    Prefix("lycoris_", DENOISER, "SimpleTuner with LyCORIS", TRANSFORMER),
    Prefix("unet.", DENOISER, "diffusers, PEFT, SimpleTuner: SD, SDXL", UNET),
    Prefix("transformer.", DENOISER, "diffusers, PEFT, SimpleTuner, ai-toolkit: SD3, Flux, Qwen-Image", TRANSFORMER),
    Prefix("diffusion_model.", DENOISER, "ComfyUI, ai-toolkit, diffusion-pipe, this project in ComfyUI", ORIGINAL),
    Prefix("model.diffusion_model.", DENOISER, "checkpoints in the original layout", ORIGINAL),
    Prefix("lora_te_", CLIP_L, "kohya sd-scripts: SD"),
    Prefix("lora_prior_te_", CLIP_G, "OneTrainer, Stable Cascade (comfy/lora.py)"),
    Prefix("lora_te1_", CLIP_L, "kohya sd-scripts, OneTrainer: SDXL, SD3, Flux"),
    Prefix("lora_te2_", CLIP_G, "kohya sd-scripts, OneTrainer: SDXL, SD3; T5 in OneTrainer's Flux"),
    Prefix("lora_te3_", T5, "kohya sd-scripts: SD3, Flux; OneTrainer: SD3"),
    Prefix("text_encoder.", CLIP_L, "diffusers, PEFT, SimpleTuner"),
    Prefix("text_encoder_2.", CLIP_G, "diffusers, PEFT, SimpleTuner; T5 in diffusers' Flux"),
    Prefix("text_encoder_3.", T5, "diffusers: SD3"),
    Prefix("text_encoders.clip_l.transformer.", CLIP_L, "ComfyUI"),
    Prefix("text_encoders.clip_g.transformer.", CLIP_G, "ComfyUI"),
    Prefix("text_encoders.t5xxl.transformer.", T5, "ComfyUI"),
    Prefix("text_encoders.transformer.encoder.", T5, "ComfyUI, without the encoder's name", keep="encoder."),
    Prefix("text_encoders.", OTHER_TEXT, "ComfyUI: Gemma, Qwen, Llama and others"),
    Prefix("clip_l.", CLIP_L, "OneTrainer's OMI format"),
    Prefix("clip_g.", CLIP_G, "OneTrainer's OMI format"),
    Prefix("t5.", T5, "OneTrainer's OMI format"),
    Prefix("text_model.", CLIP_L, "PEFT on a CLIPTextModel alone", keep="text_model."),
    Prefix("encoder.layers.", CLIP_L, "PEFT on a CLIPTextModel of newer transformers", keep="encoder.layers."),
    Prefix("encoder.block.", T5, "PEFT on a T5EncoderModel alone", keep="encoder.block."),
), key=lambda row: -len(row.text)))
"""The longest match counts. A T5 is recognized by the names of its layers, whatever number the tool gives it."""

WRAPPER = "base_model.model."
"""PEFT puts this before any module's path, alone or after a prefix (also `unet.base_model.model.`)."""

UNET_WORDS = ("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "conv_norm_out", "time_embedding",
               "add_embedding", "class_embedding", "encoder_hid_proj")
_DIFFUSERS_WORDS = ("transformer_blocks", "single_transformer_blocks")
_ORIGINAL_WORDS = ("input_blocks", "middle_block", "output_blocks", "double_blocks", "single_blocks", "joint_blocks",
                   "blocks", "layers", "noise_refiner", "context_refiner")
_SURE = {UNET: UNET_WORDS, TRANSFORMER: _DIFFUSERS_WORDS, ORIGINAL: _ORIGINAL_WORDS[:6]}
_DIFFUSERS_ENDS = ("time_text_embed", "context_embedder", "x_embedder", "t_embedder", "cap_embedder", "norm_out",
                   "proj_out", "pos_embed", "adaln_single", "caption_projection", "controlnet_x_embedder",
                   "all_x_embedder", "all_final_layer")
_ORIGINAL_ENDS = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in", "final_layer", "txt_norm")
_BARE = re.compile("(" + "|".join(
    (*UNET_WORDS, *_DIFFUSERS_WORDS, *_ORIGINAL_WORDS, *_DIFFUSERS_ENDS, *_ORIGINAL_ENDS)) + r")(\.|$)")
"""Beginnings of paths in files without any prefix: Mochi, LTX, Qwen-Image, DiffSynth's Flux, diffusion-pipe."""
_T5_PATH = re.compile(r"encoder\.(block|final_layer_norm)\b|shared$")
_PROCESSOR = re.compile(r"\.processor\.(to_[qkv]|to_out)$")
_DOTTED_ONLY = re.compile(r"(single_)?transformer_blocks\.|.*\.attention\.to_|.*\.linear1_qkv$")
"""Paths that the host reads only with dots: diffusers' paths of transformers, and three quarters of Flux's linear1."""


@dataclass(frozen=True)
class LayerName:
    """A layer as named in a file. `path` is its path in the part's own network, with dots.

    Attributes:
        part: one of PARTS.
        word: the first word of its key in `LoraWeights.modules`.
    """

    part: str
    path: str
    word: str

    @property
    def key(self) -> str:
        return f"{self.word}.{self.path}"


def layer_name(module: str, known: Mapping[str, str] | None = None) -> LayerName | None:
    """The layer that a LoRA file calls `module` (its key without the ending); None if it belongs to no known network.

    Args:
        known: see `known_names`. kohya's names lose the difference between `.` and `_`, so they are looked up here
            before the usual compound words are tried.
    """
    bare = _without_wrappers(module)
    row = next((row for row in PREFIXES if bare.startswith(row.text)), None)
    if row is None:
        return _layer(DENOISER, bare, "") if bare != module or _BARE.match(bare) else None
    path = row.keep + _without_wrappers(bare.removeprefix(row.text))
    return not row.dotted and _known_layer(row.part, path, known or {}) or _layer(
        row.part, path if row.dotted else dotted(path), row.word)


def any_layer_name(module: str, known: Mapping[str, str] | None = None) -> LayerName:
    """As `layer_name`; what begins in no known way is taken for a bare path of the denoiser."""
    return layer_name(module, known) or _layer(DENOISER, module, ORIGINAL)


def _without_wrappers(module: str) -> str:
    while module.startswith(WRAPPER):
        module = module.removeprefix(WRAPPER)
    return module


def known_names(names: Iterable[str]) -> dict[str, str]:
    """A table for `layer_name`: keys of a model's modules (`unet.…`) by their spelling with underscores."""
    return {flat(name): name for name in names}


def _known_layer(part: str, path: str, known: Mapping[str, str]) -> LayerName | None:
    words = DENOISERS if part == DENOISER else (part,)
    candidates = (f"{word}_{tail}" for word in words for tail in (path, path.removeprefix("text_model_")))
    key = next((known[candidate] for candidate in candidates if candidate in known), None)
    if key is None:
        return None
    word, _, path = key.partition(".")
    return LayerName(part, path, word)


def _layer(part: str, path: str, word: str) -> LayerName:
    if part == DENOISER:
        path = _PROCESSOR.sub(r".\1", path)
        if not path.startswith("single_"):  # Flux 2's single blocks have a layer of that name
            path = re.sub(r"\.to_out$", ".to_out.0", path)
        return LayerName(part, path, _word(path, word))
    part = T5 if part != OTHER_TEXT and _T5_PATH.match(path) else part
    return LayerName(part, with_text_model(path), part)


def _word(path: str, word: str) -> str:
    """The first word of a denoiser's key: the prefix's, unless the path certainly belongs to another layout."""
    first = path.partition(".")[0]
    if word == ORIGINAL and first in _DIFFUSERS_WORDS:
        return word  # Qwen-Image and LTX themselves use this name for their blocks
    bare = TRANSFORMER if first in _DIFFUSERS_ENDS else ORIGINAL
    return next((sure for sure, words in _SURE.items() if first in words), word or bare)


def with_text_model(path: str) -> str:
    """A CLIP module's path with the `text_model.` that files contain and newer transformers leaves out."""
    return f"text_model.{path}" if path.startswith(("encoder.layers.", "embeddings.", "final_layer_norm")) else path


# -- underscores -------------------------------------------------------------------------------------------------------

_JOINED = sorted(
    """
    down_blocks mid_block up_blocks transformer_blocks single_transformer_blocks motion_modules
    to_q to_k to_v to_out to_qkv to_add_out add_q_proj add_k_proj add_v_proj proj_in proj_out proj_mlp
    ff_context time_emb_proj conv_in conv_out conv_shortcut conv_norm_out time_embedding add_embedding linear_1 linear_2
    class_embedding encoder_hid_proj group_norm norm_q norm_k norm_added_q norm_added_k norm1_context norm2_context
    text_model self_attn q_proj k_proj v_proj o_proj out_proj text_projection visual_projection
    layer_norm1 layer_norm2 final_layer_norm layer_norm token_embedding position_embedding
    input_blocks middle_block output_blocks in_layers out_layers emb_layers skip_connection time_embed label_emb
    double_blocks single_blocks joint_blocks img_attn txt_attn img_mlp txt_mlp img_mod txt_mod img_norm1 txt_norm1
    img_norm2 txt_norm2 query_norm key_norm pre_norm
    img_in txt_in time_in vector_in guidance_in in_layer out_layer distilled_guidance_layer in_proj
    x_block context_block x_embedder t_embedder y_embedder context_embedder pos_embed final_layer norm_out ln_q ln_k
    cap_embedder attention_norm1 attention_norm2 ffn_norm1 ffn_norm2 q_norm k_norm time_text_embed timestep_embedder
    guidance_embedder text_embedder txt_norm linear_in linear_out to_qkv_mlp_proj
    noise_refiner context_refiner feed_forward adaLN_modulation cross_attn k_img v_img gate_proj up_proj down_proj
    norm_final controlnet_x_embedder all_final_layer all_x_embedder
    time_projection text_embedding img_emb caption_projection double_stream_blocks single_stream_blocks
    wi_0 wi_1 relative_attention_bias embed_tokens input_layernorm post_attention_layernorm
    """.split(),
    key=len, reverse=True,
)
"""Compound words in the paths of CLIP, T5, Llama and every denoiser in the list of families."""
_WORD = re.compile("(" + "|".join(_JOINED) + r"|[^_]+)(?:_|$)")


def flat(path: str) -> str:
    """The path with underscores, as kohya writes it."""
    return path.replace(".", "_")


def dotted(path: str) -> str:
    """The dotted path of one that kohya flattened, restored with the known compound words."""
    return ".".join(_WORD.findall(path))


# -- endings -----------------------------------------------------------------------------------------------------------

LORA, LOHA, LOKR, FULL = "LoRA", "LoHa", "LoKr", "full"
ANY, BESIDE = "", "beside"
"""Kinds of endings: ANY can belong to any kind of adapter; BESIDE is not a layer's weight but a bias or norm."""
ALPHA, MAGNITUDE = "alpha", "magnitude"
MAGNITUDE_KEY = "dora_scale"
NORM, BIAS, PEFT_BIAS, SET, RESHAPE = "norms", "biases", "biases of up", "weights to set", "new shapes"
VECTORS = (NORM, BIAS)
"""Roles of endings BESIDE, as reports call them. VECTORS are differences that the host adds at the LoRA's strength."""
OFT, GLORA, IA3 = "OFT", "GLoRA", "(IA)³"
XLABS, FIRST = "XLabs' LoRA for Flux", "a LoRA of the first generation"
NEED_THE_MODEL = (OFT, GLORA, IA3)
"""Kinds that cannot be turned into a change without the model's own weights."""
UNREAD_NAMES = ((re.compile(r"\.processor\.(qkv|proj)_lora\d?\.(up|down)\.weight$"), XLABS),
                (re.compile(r"\w+:\d+:(up|down)$"), FIRST))
"""Names of keys that say which layers they are for in a way that is not read here."""
EMBEDDING = "bundle_emb."
"""Beginning of the keys of embeddings that a file has bundled with it; LoRA loaders leave them alone."""


@dataclass(frozen=True)
class Ending:
    """How the key of one tensor ends.

    Attributes:
        kind: the kind of adapter, ANY or BESIDE.
        role: which of the kind's tensors it is.
        source: the tool that writes it, or the paper it comes from.
    """

    text: str
    kind: str
    role: str
    source: str


def _pair(down: str, up: str, source: str) -> tuple[Ending, Ending]:
    return Ending(down, LORA, "down", source), Ending(up, LORA, "up", source)


ENDINGS = tuple(sorted((
    *_pair(".lora_down.weight", ".lora_up.weight", "kohya sd-scripts, LyCORIS, OneTrainer"),
    *_pair(".lora_A.weight", ".lora_B.weight", "PEFT, diffusers, SimpleTuner, ai-toolkit"),
    *_pair(".lora_A.default.weight", ".lora_B.default.weight", "PEFT with the adapter's name: Qwen-Image"),
    *_pair(".lora_A", ".lora_B", "Mochi"),
    *_pair(".lora.down.weight", ".lora.up.weight", "diffusers 0.2x"),
    *_pair("_lora.down.weight", "_lora.up.weight", "diffusers 0.1x: attention processors"),
    *_pair(".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", "diffusers 0.2x: text encoders"),
    Ending(".lora_mid.weight", LORA, "mid", "LyCORIS: LoCon with a Tucker core"),
    *(Ending(f".hada_{role}", LOHA, role, "LyCORIS: LoHa (FedPara, arXiv:2108.06098)")
      for role in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *(Ending(f".lokr_{role}", LOKR, role, "LyCORIS: LoKr (arXiv:2212.10650)")
      for role in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
    Ending(".diff", FULL, "diff", "LyCORIS full, ComfyUI's Extract and Save Lora"),
    Ending(".alpha", ANY, ALPHA, "kohya sd-scripts and all after it"),
    Ending(f".{MAGNITUDE_KEY}", ANY, MAGNITUDE, "LyCORIS, OneTrainer, ComfyUI: DoRA (arXiv:2402.09353)"),
    Ending(".lora_magnitude_vector", ANY, MAGNITUDE, "PEFT: DoRA"),
    Ending(".lora_magnitude_vector.weight", ANY, MAGNITUDE, "PEFT: DoRA"),
    Ending(".lora_magnitude_vector.default.weight", ANY, MAGNITUDE, "PEFT: DoRA"),
    Ending(".diff_b", BESIDE, BIAS, "LyCORIS, ComfyUI: a bias' difference"),
    Ending(".w_norm", BESIDE, NORM, "LyCORIS: a norm's difference"),
    Ending(".b_norm", BESIDE, BIAS, "LyCORIS: a norm's bias' difference"),
    Ending(".lora_B.bias", BESIDE, PEFT_BIAS, "PEFT with lora_bias; Flux control LoRAs"),
    Ending(".set_weight", BESIDE, SET, "ComfyUI: a weight to be put in place of the model's"),
    Ending(".reshape_weight", BESIDE, RESHAPE, "ComfyUI: a weight's new shape"),
    *(Ending(text, OFT, "", "LyCORIS, kohya, PEFT, OneTrainer: OFT and BOFT")
      for text in (".oft_blocks", ".oft_diag", ".oft_r.weight", ".oft_R.weight", ".oft_R.default.weight")),
    *(Ending(text, GLORA, "", "LyCORIS: GLoRA") for text in (".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight")),
    Ending(".on_input", IA3, "", "LyCORIS: (IA)³"),
), key=lambda row: -len(row.text)))
"""The longest match counts."""


def split_key(key: str) -> tuple[str, Ending] | None:
    """(module, ending) of a file's key; None for keys that belong to no adapter."""
    row = next((row for row in ENDINGS if key.endswith(row.text)), None)
    return (key.removesuffix(row.text), row) if row else None


def ending_of(kind: str, role: str) -> str:
    """How the key of a tensor of a kind ends, dot included, where the kind has but one spelling."""
    (ending,) = (row.text for row in ENDINGS if (row.kind, row.role) == (kind, role))
    return ending


def is_flat(module: str) -> bool:
    """Whether a file's name of a layer has underscores for dots."""
    row = next((row for row in PREFIXES if module.startswith(row.text)), None)
    return row is not None and not row.dotted


def module_of(key: str) -> str:
    """The file's name for the layer of a key; the key itself if it belongs to no adapter."""
    found = split_key(key)
    return found[0] if found else key


# -- writing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyStyle:
    """How a LoRA's layers are named when a file is written.

    Attributes:
        prefixes: by part, or by first word for the denoiser. A part that is not listed gets the host's prefix.
        alpha: whether the style has a key for alpha. If not, alpha / rank is multiplied into up, and ranks are padded
            with zeros to be equal.
    """

    title: str
    prefixes: Mapping[str, str]
    down: str
    up: str
    alpha: bool = True


_HOST = {
    UNET: "unet.", TRANSFORMER: "transformer.", ORIGINAL: "diffusion_model.",
    CLIP_L: "text_encoders.clip_l.transformer.", CLIP_G: "text_encoders.clip_g.transformer.",
    T5: "text_encoders.t5xxl.transformer.", OTHER_TEXT: "text_encoders.",
}
KEY_STYLES = {
    "kohya": KeyStyle("kohya (works everywhere)", {
        UNET: "lora_unet_", ORIGINAL: "lora_unet_", TRANSFORMER: "lora_transformer_", CLIP_L: "lora_te1_",
        CLIP_G: "lora_te2_", T5: "lora_te3_"}, "lora_down.weight", "lora_up.weight"),
    "peft": KeyStyle("peft / diffusers", {CLIP_L: "text_encoder.", CLIP_G: "text_encoder_2."}, "lora_A.weight",
                     "lora_B.weight", False),
    "comfy": KeyStyle("ComfyUI", {}, "lora_down.weight", "lora_up.weight"),
}
"""No program reads diffusers' `text_encoder_3.`, so a T5 gets the host's name in diffusers' style too."""


def key_layer(key: str) -> LayerName:
    """The layer of a key of `LoraWeights.modules`, which is spelt as by `layer_name` or by the network itself."""
    word, _, path = key.partition(".")
    found = None if word in DENOISERS else layer_name(key)
    return found or LayerName(DENOISER, path, word)


def file_name(key: str, style: str, others: Collection[str] = ()) -> str:
    """The name that a file in this style (one of KEY_STYLES) gives to the layer of a key of `LoraWeights.modules`.

    Args:
        others: parts that the model has. kohya numbers text encoders only if there are several.

    Raises UserError for diffusers' UNet layers in ComfyUI's style, which has no names for them.
    """
    layer = key_layer(key)
    if style == "comfy" and layer.word == UNET:
        raise UserError(f"key style 'comfy' has no names for diffusers modules such as {key}; use key style kohya.")
    sort = layer.word if layer.part == DENOISER else layer.part
    prefix = KEY_STYLES[style].prefixes.get(sort, _HOST.get(sort, f"{sort}."))
    if style == "kohya":
        if layer.part == CLIP_L and not {CLIP_G, T5} & set(others):
            prefix = "lora_te_"
        if layer.part == T5 and CLIP_L not in others:
            prefix = _HOST[T5]  # a lone T5 could be te1, te2 or te3, depending on the model
    return prefix + (layer.path if prefix.endswith(".") else flat(layer.path))


def fitting_style(keys: Iterable[str]) -> str:
    """The key style in which ComfyUI reads all layers of a file: kohya's, or a dotted one for diffusers' transformers.

    The host knows flat names for its own layers and for diffusers' UNets. It maps diffusers' names of transformers only
    with dots, whatever the family (comfy/lora.py).
    """
    layers = map(key_layer, keys)
    apart = any(layer.part == DENOISER and (layer.word == TRANSFORMER or _DOTTED_ONLY.match(layer.path))
                for layer in layers)
    return "peft" if apart else "kohya"
