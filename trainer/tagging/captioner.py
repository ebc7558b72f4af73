"""Prose captions, for bases that read sentences (such as Flux), by a local image-to-text folder of transformers.

Florence-2, BLIP, GIT, and any model that follows instructions about an image (LLaVA, JoyCaption, Qwen-VL …): how each
is asked is a row of a table. Nothing is downloaded, and a folder's own code is not run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..captions.tags import add_trigger, join_tags, split_tags
from ..common.errors import UserError, unknown_name
from ..common.events import Event, Events, Progress, Warned
from ..datasets.dataset import Dataset, Sample

DETAILS = ("short", "normal", "long")
BATCH = 4


@dataclass(frozen=True)
class Asking:
    """How a kind of model is asked for a caption.

    Attributes:
        prompts: the prompt for each of DETAILS; "": none.
        own_prompt: whether it understands the user's own prompt.
        chat: whether the prompt is put into the model's own chat template.
    """

    prompts: tuple[str, str, str] = ("", "", "")
    own_prompt: bool = True
    chat: bool = False


ASKINGS: Mapping[str, Asking] = {
    "florence2": Asking(("<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>"), own_prompt=False),
    "blip": Asking(),  # a prompt is the caption's beginning, such as "a drawing of"
    "git": Asking(own_prompt=False),
    "vision-encoder-decoder": Asking(own_prompt=False),
    "instructblip": Asking(("A short description:", "Describe the picture.", "Describe the picture in detail.")),
}
"""By transformers' model_type."""
CHAT = Asking(("Describe this picture in one short sentence.",
               "Describe this picture in two or three sentences: who is shown, how they look, what they wear and do, "
               "and where.",
               "Describe this picture in detail, in one paragraph: subject, clothing, pose, expression, framing, "
               "light, background and style."), chat=True)
"""For every other model that has a chat template."""


@dataclass(frozen=True, kw_only=True)
class ProseChoice:
    """What is asked of a captioner.

    Attributes:
        detail: one of DETAILS.
        prompt: used instead of the table's, if the model understands one.
        most_tokens: maximum length of a caption; a sentence that this cuts short is left out.
        beams: 1: the likeliest word each time; more: search for the likeliest sentence.
        tidy: leave out openings such as "The image shows".
    """

    detail: str = "normal"
    prompt: str = ""
    most_tokens: int = 120
    beams: int = 1
    tidy: bool = True

    def __post_init__(self) -> None:
        if self.detail not in DETAILS:
            raise unknown_name("detail", self.detail, DETAILS)
        for name in ("most_tokens", "beams"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 1 or more.")


class Captioner:
    """An image-to-text model in a folder, as saved by transformers.

    Args:
        device, dtype: default to the GPU in float16, or the CPU in float32.

    Raises:
        UserError: there is no such folder, it is not a model of this kind, its weights are not safetensors, or it
            needs its own code.
    """

    def __init__(self, folder: str | Path, device: str | None = None, dtype: torch.dtype | None = None) -> None:
        folder = Path(folder)
        self.name = folder.name
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = dtype or (torch.float32 if self.device.type == "cpu" else torch.float16)
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder} has no config.json; a captioner is an image-to-text folder of transformers, "
                            "such as BLIP or Florence-2.")
        try:
            self.kind, self._model, self._processor = _load(folder, self._dtype)
        except Exception as error:  # transformers raises nearly anything on folders it does not know
            raise UserError(f"{folder} cannot be loaded as a captioner ({_first_line(error)}). It must be an "
                            "image-to-text model with safetensors weights that transformers supports by itself; for "
                            "Florence-2, use florence-community's.") from error
        self._model = self._model.eval().requires_grad_(False).to(self.device)
        chat = bool(getattr(self._processor, "chat_template", None))
        self.asking = ASKINGS.get(self.kind) or (CHAT if chat else Asking())
        tokenizer = getattr(self._processor, "tokenizer", None)
        if self.asking.chat and tokenizer is not None:
            tokenizer.padding_side = "left"  # what is generated follows the last token

    @torch.inference_mode()
    def captions(self, pictures: Sequence[Image.Image], choice: ProseChoice | None = None) -> list[str]:
        """A caption for each RGB image, on one line."""
        choice = choice or ProseChoice()
        if not pictures:
            return []
        prompt = self.prompt(choice)
        inputs = self._inputs(list(pictures), prompt).to(self.device)
        for name, value in inputs.items():
            if torch.is_tensor(value) and value.is_floating_point():
                inputs[name] = value.to(self._dtype)
        tokens = self._model.generate(**inputs, max_new_tokens=choice.most_tokens, num_beams=choice.beams,
                                      do_sample=False)
        if self.asking.chat:
            tokens = tokens[:, inputs["input_ids"].shape[1]:]
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [tidy_caption(text, choice.tidy) for text in texts]

    def prompt(self, choice: ProseChoice) -> str:
        """The prompt given to the model. Raises UserError for a prompt it would not understand."""
        if choice.prompt and not self.asking.own_prompt:
            raise UserError(f"captioner {self.name} ({self.kind}) does not follow a prompt; leave it out and choose "
                            f"the detail: {', '.join(DETAILS)}.")
        return choice.prompt or self.asking.prompts[DETAILS.index(choice.detail)]

    def _inputs(self, pictures: list[Image.Image], prompt: str) -> Any:
        if self.asking.chat:
            turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
            prompt = self._processor.apply_chat_template(turn, add_generation_prompt=True)
        if not prompt:
            return self._processor(images=pictures, return_tensors="pt")
        # Some processors need a list of images for each text.
        images = [[picture] for picture in pictures] if self.asking.chat else pictures
        return self._processor(images=images, text=[prompt] * len(pictures), return_tensors="pt", padding=True)


def _load(folder: Path, dtype: torch.dtype) -> tuple[str, Any, Any]:
    import transformers

    options = {"local_files_only": True, "trust_remote_code": False}
    kind = transformers.AutoConfig.from_pretrained(folder, **options).model_type
    # The second is the name up to transformers 4.
    names = ("AutoModelForImageTextToText", "AutoModelForVision2Seq")
    auto = next(getattr(transformers, name) for name in names if hasattr(transformers, name))
    named = "dtype" if int(transformers.__version__.partition(".")[0]) >= 5 else "torch_dtype"
    model = auto.from_pretrained(folder, use_safetensors=True, **{named: dtype}, **options)
    return kind, model, transformers.AutoProcessor.from_pretrained(folder, **options)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


_OPENING = re.compile(
    r"(?:(?:the|this|an?) (?:image|picture|photo|photograph|illustration) "
    r"(?:shows|depicts|features|is of|captures|portrays|displays)"
    r"|in (?:the|this) (?:image|picture|photo),?(?: (?:we can see|we see|there is))?) ", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def tidy_caption(text: str, openings: bool = True) -> str:
    """The caption on one line, without an opening that says nothing, and without a sentence that was cut short if a
    whole one comes before it."""
    text = " ".join(text.split())
    if openings and (opening := _OPENING.match(text)):
        text = text[opening.end():]
        text = text[:1].upper() + text[1:]
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[:ends[-1]] if ends else text


_kept: dict[tuple, Captioner] = {}
_kept_lock = threading.Lock()


def open_captioner(name: str | Path, root: str | Path | None = None, device: str | None = None) -> Captioner:
    """The captioner in the folder of that name under `root` (`models/captioners`), or in a folder given as a Path.

    The last one opened stays in memory. A name never leads out of `root`. Raises UserError.
    """
    folder = name if isinstance(name, Path) else _find(name, root)
    key = (str(folder), device)
    with _kept_lock:
        if key not in _kept:
            _kept.clear()
            _kept[key] = Captioner(folder, device)
        return _kept[key]


def release_captioner() -> None:
    """Drop the captioner that was opened last, so that its memory is free once nothing else holds it."""
    with _kept_lock:
        _kept.clear()


def installed_captioners(root: str | Path) -> tuple[str, ...]:
    """The names of the folders under `root` that hold a transformers model, in order."""
    root = Path(root)
    return tuple(sorted((path.parent.name for path in root.glob("*/config.json")), key=str.casefold))


def _find(name: str, root: str | Path | None) -> Path:
    there = installed_captioners(root) if root is not None else ()
    if root is None or name not in there:
        if not there:
            raise UserError(f"there is no captioner {name!r}: {root} has none. Put an image-to-text folder of "
                            "transformers there, such as BLIP or Florence-2.")
        raise unknown_name(f"captioner (in {root})", name, there)
    return Path(root) / name


# -- datasets --------------------------------------------------------------------------------------------------------


def _tags_first(tags: str, prose: str) -> str:
    return join_tags(part for part in (tags, prose) if part)


def _prose_first(tags: str, prose: str) -> str:
    return join_tags(part for part in (prose.rstrip(".") if tags else prose, tags) if part)


MERGES: Mapping[str, Callable[[str, str], str]] = {
    "replace": lambda old, prose: prose, "tags first": _tags_first, "prose first": _prose_first,
    "keep": lambda old, prose: old or prose,
}
"""What happens to an existing caption (mostly tags), by name."""


def with_trigger(prose: str, trigger: str) -> str:
    """The caption with the trigger before it, unless it already begins with it."""
    return join_tags(add_trigger(split_tags(prose), trigger)) if trigger else prose


@dataclass(frozen=True)
class DatasetCaptioned(Event):
    """The last event of `caption_dataset`: the samples with their new captions, and the prose for each (None if the
    captioner was not asked, or the image could not be read)."""

    dataset: Dataset
    prose: tuple[str | None, ...]


def caption_dataset(dataset: Dataset, captioner: Captioner, choice: ProseChoice | None = None, merge: str = "replace",
                    trigger: str = "", batch: int = BATCH) -> Events:
    """Caption every sample, yielding Progress after each batch; the last event is DatasetCaptioned.

    Closing the iterator cancels. An image that cannot be read keeps its caption, and a Warned names it.

    Args:
        merge: a key of MERGES; `keep` asks only for images without a caption.
        trigger: word to put before each new caption.
    """
    if merge not in MERGES:
        raise unknown_name("way to merge captions", merge, MERGES)
    if batch < 1:
        raise UserError(f"batch is {batch}; it must be 1 or more.")
    prose: list[str | None] = [None] * len(dataset)
    wanted = [i for i, sample in enumerate(dataset) if merge != "keep" or not sample.caption]
    for start in range(0, len(wanted), batch):
        pictures = {}
        for place in wanted[start : start + batch]:
            try:
                pictures[place] = dataset.samples[place].load()
            except UserError as error:
                yield Warned(f"not captioned: {error}")
        for place, text in zip(pictures, captioner.captions(list(pictures.values()), choice), strict=True):
            prose[place] = text
        yield Progress("captioning", min(start + batch, len(wanted)), len(wanted))
    def caption_sample(sample: Sample, text: str | None) -> Sample:
        caption = None if text is None else with_trigger(MERGES[merge](sample.caption, text), trigger)
        return sample if caption is None else replace(sample, caption=caption)

    samples = map(caption_sample, dataset, prose)
    yield DatasetCaptioned(Dataset(tuple(samples), dataset.notes), tuple(prose))
