"""Prompts through the host's text encoders, several in one forward pass where they can share it.

The host's CLIP encodes one prompt at a time: its tokenizer cuts the prompt into chunks, which are the rows of a batch,
and each family joins the chunks of its encoders in its own way. So that way is gone through for each prompt until it
asks an encoder for chunks; what several prompts ask of one encoder is then computed together, and each goes on with its
part.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import comfy.sd1_clip
import torch
from torch import Tensor

from ...trainer.models.backbone import Conditioning
from ...trainer.models.out_of_memory import is_out_of_memory
from .encoded import pack

MOST_TOKENS = 4096
"""Tokens in one forward pass: those of 53 chunks of CLIP, or 8 long prompts of T5."""


def encode_prompts(clip: Any, prompts: Sequence[str]) -> list[Conditioning]:
    """The conditioning of each prompt, as the host's CLIP Text Encode gives it, up to rounding."""
    tokens = [clip.tokenize(prompt) for prompt in prompts]
    made: dict[int, Conditioning] = {}
    with _shared(clip.cond_stage_model) as shared:
        while len(made) < len(prompts):
            for row in range(len(prompts)):
                if row not in made:
                    with contextlib.suppress(_Later):  # a copy, as some families shorten what they are given
                        made[row] = _encode_tokens(clip, copy.deepcopy(tokens[row]))
            shared.compute()
    return [made[row] for row in range(len(prompts))]


def encode_alone(clip: Any, prompt: str) -> Conditioning:
    """The conditioning of a prompt by a forward pass of its own, with gradients if they are on."""
    return _encode_tokens(clip, clip.tokenize(prompt))


def _encode_tokens(clip: Any, tokens: Any) -> Conditioning:
    made = clip.encode_from_tokens(tokens, return_pooled=True, return_dict=True)
    made["cross_attn"] = made.pop("cond")
    return Conditioning(pack(made))


class _Later(Exception):
    """A prompt needs chunks that are not computed yet."""


class _Shared:
    """What is asked of the encoders, and what they answered."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, tuple[_Encode, list[list[int]]]] = {}
        self._answers: dict[Hashable, Any] = {}

    def ask(self, encode: _Encode, chunks: list[Any]) -> Any:
        """What the encoder makes of the chunks. Raises _Later if others may share the forward pass."""
        if not _are_numbers(chunks):  # learnt embeddings and images
            return encode(chunks)
        key = (encode, tuple(map(tuple, chunks)))
        if key not in self._answers:
            self._asked[key] = encode, chunks
            raise _Later
        return _rows(self._answers[key], slice(None))  # a copy, as the host weights words in place

    def compute(self) -> None:
        """Answer what was asked, by encoder and length of its chunks."""
        groups: dict[Hashable, list[Hashable]] = {}
        for key, (encode, chunks) in self._asked.items():
            most = MOST_TOKENS // len(chunks[0])
            group = groups.setdefault((encode, len(chunks[0])), [])
            if group and sum(len(self._asked[other][1]) for other in group) + len(chunks) > most:
                self._answer(group)
                group.clear()
            group.append(key)
        for group in groups.values():
            self._answer(group)
        self._asked.clear()

    def _answer(self, keys: Sequence[Hashable]) -> None:
        """Answer them in one forward pass, or in two if memory does not suffice, down to one prompt in each."""
        if not self._encode(keys):
            half = len(keys) // 2
            self._answer(keys[:half])
            self._answer(keys[half:])

    def _encode(self, keys: Sequence[Hashable]) -> bool:
        """Whether memory sufficed. What fills it hangs on the error, so it is free only after this has returned."""
        try:
            self._encode_together(keys)
        except Exception as error:
            if len(keys) == 1 or not is_out_of_memory(error):
                raise
            return False
        return True

    def _encode_together(self, keys: Sequence[Hashable]) -> None:
        encode = self._asked[keys[0]][0]
        every = [self._asked[key][1] for key in keys]
        made = encode([chunk for chunks in every for chunk in chunks])
        start = 0
        for key, chunks in zip(keys, every, strict=True):
            self._answers[key] = _rows(made, slice(start, start + len(chunks)))
            start += len(chunks)


_Encode = Callable[[list[Any]], Any]


def _are_numbers(chunks: Sequence[Sequence[Any]]) -> bool:
    return bool(chunks and chunks[0]) and all(
        len(chunk) == len(chunks[0]) and all(isinstance(token, Integral) for token in chunk) for chunk in chunks)


def _rows(made: Any, rows: slice) -> Any:
    """Those rows of what an encoder returns: tensors [rows, ...] in tuples and dicts, and None."""
    if isinstance(made, Tensor):
        return made[rows].clone()
    if isinstance(made, Mapping):
        return {name: _rows(value, rows) for name, value in made.items()}
    return made if made is None else tuple(_rows(value, rows) for value in made)


@contextlib.contextmanager
def _shared(root: torch.nn.Module) -> Iterator[_Shared]:
    """Every encoder below `root` asks the yielded object while the block lasts."""
    shared = _Shared()
    encoders = [module for module in root.modules() if isinstance(module, comfy.sd1_clip.SDClipModel)]

    def asking(encode: _Encode) -> _Encode:
        return lambda chunks: shared.ask(encode, chunks)

    for encoder in encoders:
        encoder.__dict__["encode"] = asking(encoder.encode)
    try:
        yield shared
    finally:
        for encoder in encoders:
            encoder.__dict__.pop("encode", None)
