"""Custom nodes for a test server: loaders that make tiny models of the host's own classes, with random weights.

The host's own loaders know text encoders by their full size, so the templates for real models are tried with these. The
server's garbage is collected faster with them, too.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parents[1]
PACK = TESTS.parents[1]
COARSE = {"qwen_image_edit": 64, "flux2_klein": 16}
"""Pixels a side to one latent where it is not eight: as in the host's empty latent, or more, because its text encoder
for Qwen scales whatever it is shown to 1 megapixel."""


@dataclass
class _Freezer:
    """Keeps what modules hold out of later full collections of garbage: a training of a tiny model asks for several,
    and each goes through a million objects of the host. To be called by the collector."""

    modules: int = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2 and len(sys.modules) > self.modules + MANY:
            self.modules = len(sys.modules)
            gc.freeze()


MANY = 50
"""New modules after which what is there is kept out again. Only then, as garbage that is kept out stays."""
gc.callbacks.append(_Freezer())


@cache
def _tiny_models() -> ModuleType:
    """The module that makes them, which finds this pack under the name that it has in the tests."""
    (pack,) = {id(module): module for module in list(sys.modules.values())
               if Path(getattr(module, "__file__", None) or "").resolve() == PACK / "__init__.py"}.values()
    sys.modules.setdefault("lora_bootstrap", pack)
    spec = importlib.util.spec_from_file_location("tiny_models", TESTS / "inside" / "tiny_models.py")
    sys.modules["tiny_models"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Loader:
    FUNCTION, CATEGORY = "load", "tests"
    SLOTS: slice

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"family": ("STRING", {"default": "sdxl"})}}

    def load(self, family):
        return _parts(family)[self.SLOTS]


@cache
def _parts(family: str):
    tiny = _tiny_models()
    model, clip, vae = tiny.make_parts(family)
    vae.scale = COARSE.get(family, vae.scale)
    return model, _with_images(_with_schedule(clip)), vae


def _with_schedule(clip):
    """What CLIP Text Encode asks beside what a backbone asks."""
    def encode(tokens, unprojected=False, add_dict=None, show_pbar=True):
        made = clip.encode_from_tokens(tokens)
        needed = ("pooled_output",)  # older hosts read it of every conditioning
        return [[made.pop("cond"), {name: value for name, value in made.items()
                                    if value is not None or name in needed}]]

    clip.encode_from_tokens_scheduled = encode
    return clip


def _with_images(clip):
    """What the text encoder of an edit model takes beside the text: each image is a word of its own."""
    def tokenize(text, return_word_ids=False, images=(), llama_template=None):
        return read(" ".join((text, *(f"image-{_digest(image)}" for image in images))), return_word_ids)

    read, clip.tokenize = clip.tokenize, tokenize
    return clip


def _digest(tensor) -> str:
    return hashlib.sha256(tensor.float().cpu().numpy().tobytes()).hexdigest()[:16]


class TinyCheckpoint(_Loader):
    RETURN_TYPES, SLOTS = ("MODEL", "CLIP", "VAE"), slice(3)


class TinyNetwork(_Loader):
    RETURN_TYPES, SLOTS = ("MODEL",), slice(0, 1)


class TinyText(_Loader):
    RETURN_TYPES, SLOTS = ("CLIP",), slice(1, 2)


class TinyDecoder(_Loader):
    RETURN_TYPES, SLOTS = ("VAE",), slice(2, 3)


class NoteConditioning:
    """Passes a conditioning on, and notes by the seed that it is drawn with what is in it, in output/<file>."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "note", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",), "seed": ("INT", {"forceInput": True}),
                             "file": ("STRING", {"default": "conditionings.jsonl"})}}

    def note(self, conditioning, seed, file):
        import folder_paths

        ((text, more),) = conditioning
        shown = [_digest(latent) for latent in more.get("reference_latents", ())]
        with open(Path(folder_paths.get_output_directory()) / file, "a", encoding="utf-8") as notes:
            notes.write(json.dumps({"seed": seed, "text": _digest(text), "shown": shown}) + "\n")
        return (conditioning,)


NODE_CLASS_MAPPINGS = {kind.__name__: kind for kind in (
    TinyCheckpoint, TinyNetwork, TinyText, TinyDecoder, NoteConditioning)}
