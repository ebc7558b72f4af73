"""Reads LoRAs as people write them: `<lora:name:0.8:0.6>` in a prompt, and a stack with one LoRA per line.

    girl                           strength 1
    girl : 0.8                     0.8 on the model and the text encoders
    ink : 0.5 : 0.3                0.5 on the model, 0.3 on the text encoders
    ink : 0.5 : 0.3 : style        the same, with only some blocks; see `blocks.py`
    <lora:girl:0.8:0.6>            as in a prompt
    off ink : 0.5                  off; so is any line that begins with #
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..common.errors import UserError
from .stack import MOST_STRENGTH

ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl")
"""Endings that may be left out of a file's name."""
HOW_LINE = "a line is name : model strength : clip strength : blocks, such as girl : 0.8"
HOW_TAG = "write <lora:name:0.8> or <lora:name:0.8:0.6>, or \\<lora: if it is not a LoRA"
_TAG = re.compile(r"(?<!\\)<lora:([^<>\n]*)>", re.IGNORECASE)
_BEGUN = re.compile(r"(?<!\\)<lora:[^,\n]*", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(<lora:)", re.IGNORECASE)
_LOOSE = ", \t\r\n"
_OPEN, _CLOSE = "([{", ")]}"
_OFF = "off "


@dataclass(frozen=True)
class WantedLora:
    """A LoRA that a text asks for.

    Attributes:
        name: the name as written, or as listed.
        strength: strength on the denoiser; `clip_strength` on the text encoders.
        blocks: the blocks to keep, for `blocks.choose_blocks`; "" keeps all.
    """

    name: str
    strength: float = 1.0
    clip_strength: float = 1.0
    blocks: str = ""


def find_lora(name: str, names: Sequence[str]) -> str:
    """The listed name that is meant. Ending and folder may be left out if that is unambiguous.

    Raises UserError if no name fits, with the nearest, or if several do.
    """
    wanted = _slashes(name)
    for form in (_slashes, _plain, lambda listed: _last(_slashes(listed)), lambda listed: _last(_plain(listed))):
        fitting = [listed for listed in names if form(listed) == wanted]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise UserError(f"LoRA {name!r} could be {' or '.join(map(repr, fitting[:4]))}; write the full name.")
    if not names:
        raise UserError(f"there is no LoRA {name!r}, and no other LoRA either; put one into models/loras and press R.")
    near = near_loras(name, names, 1)
    raise UserError(f"there is no LoRA {name!r}.{f' Did you mean {near[0]!r}?' if near else ''} Put the file into "
                    "models/loras, or press R to refresh the list.")


def _slashes(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/"))


def _plain(name: str) -> str:
    """The name with / between folders and without its ending."""
    plain = _slashes(name)
    return next((plain.removesuffix(ending) for ending in ENDINGS if plain.endswith(ending)), plain)


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def near_loras(name: str, names: Sequence[str], most: int) -> list[str]:
    """The listed names with the most similar spelling, without their endings, nearest first."""
    forms = {form.lower(): _plain(name) for name in names for form in (_last(_plain(name)), _plain(name))}
    near = difflib.get_close_matches(_plain(name).lower(), forms, n=2 * most)  # each name has two forms
    return list(dict.fromkeys(forms[form] for form in near))[:most]


# -- a stack, line by line ---------------------------------------------------------------------------------------------


def read_entries(text: str, names: Sequence[str]) -> tuple[WantedLora, ...]:
    """The LoRAs of a text with one LoRA per line, by their listed names. Lines that are off are skipped.

    Raises UserError for a line that cannot be read, a name that is not listed, or a LoRA listed twice with the same
    blocks.
    """
    return _match_names(tuple(entry for line in text.splitlines() for entry in read_line(line, names)), names)


def read_line(line: str, names: Sequence[str]) -> tuple[WantedLora, ...]:
    """The LoRAs of one line as written; () if it is off. The names tell whether `off` is part of a LoRA's name.

    Raises UserError if the line cannot be read.
    """
    line = line.strip()
    if not line or line.startswith("#") or _is_off(line, names):
        return ()
    if line.startswith("<"):
        entries, rest = read_prompt(line)
        if rest:
            raise UserError(f"line {line!r} contains text that is not a LoRA: {rest!r}. Put prompts into Prompt LoRAs.")
        return entries
    return (_entry(line.split(":"), line, HOW_LINE, 4),)


def _is_off(line: str, names: Sequence[str]) -> bool:
    if not f"{line} ".lower().startswith(_OFF):
        return False
    try:  # "off shoulder" may be the name of a LoRA
        find_lora(line.partition(":")[0], names)
    except UserError:
        return True
    return False


def _entry(parts: Sequence[str], whole: str, how: str, most: int) -> WantedLora:
    name, *rest = (part.strip() for part in parts)
    if not name:
        raise UserError(f"{whole!r} does not name a LoRA; {how}.")
    if len(parts) > most:
        raise UserError(f"{whole!r} has {len(parts)} parts between colons; at most {most} are possible; {how}.")
    strength = _strength(rest[0], whole, how) if rest and rest[0] else 1.0
    clip = _strength(rest[1], whole, how) if len(rest) > 1 and rest[1] else strength
    return WantedLora(name, strength, clip, rest[2] if len(rest) > 2 else "")


def _strength(text: str, whole: str, how: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"strength {text!r} in {whole!r} is not a number; {how}.") from None
    if not abs(value) <= MOST_STRENGTH:
        raise UserError(f"strength {text} in {whole!r} must be from {-MOST_STRENGTH:g} to {MOST_STRENGTH:g}; LoRAs "
                        "usually work at 0.4 to 1.")
    return value


def _match_names(entries: Sequence[WantedLora], names: Sequence[str]) -> tuple[WantedLora, ...]:
    found = tuple(WantedLora(find_lora(entry.name, names), entry.strength, entry.clip_strength, entry.blocks)
                  for entry in entries)
    check_once(found)
    return found


def check_once(entries: Sequence[WantedLora]) -> None:
    """Raises UserError if one of the LoRAs, by listed name, occurs twice with the same blocks."""
    once = [(entry.name, entry.blocks) for entry in entries]
    for at, entry in enumerate(entries):
        if once[at] in once[:at]:
            raise UserError(f"LoRA {entry.name!r} is listed twice; list it once and add the strengths.")


# -- a prompt ----------------------------------------------------------------------------------------------------------


def read_prompt(text: str) -> tuple[tuple[WantedLora, ...], str]:
    """(the LoRAs in a prompt as written, the prompt without them).

    Commas and spaces are tidied where a LoRA was removed; everything else stays exactly the same. A backslash marks
    text that is not a LoRA: `\\<lora:x>` becomes `<lora:x>`.

    Raises UserError for a LoRA that is not closed, has no name, or has an invalid strength.
    """
    entries = tuple(_entry(tag[1].split(":"), tag[0], HOW_TAG, 3) for tag in _TAG.finditer(text))
    rest = _join_pieces(_TAG.split(text)[::2])
    if left := _BEGUN.search(rest):
        raise UserError(f"{left[0].strip()!r} in the prompt is not closed; {HOW_TAG}.")
    return entries, _ESCAPED.sub(r"\1", rest)


def _join_pieces(pieces: Sequence[str]) -> str:
    """The text between LoRAs, with one gap in place of each run of LoRAs."""
    done, loose = pieces[0], ""
    for piece in pieces[1:]:
        before, after = done.rstrip(_LOOSE), piece.lstrip(_LOOSE)
        loose += done[len(before):] + piece[: len(piece) - len(after)]
        done = before
        if after:
            done, loose = before + _gap(before, loose, after) + after, ""
    return done


def _gap(before: str, loose: str, after: str) -> str:
    if not before or before[-1] in _OPEN or after[0] in _CLOSE:
        return ""
    if "," in loose:
        return ",\n" if "\n" in loose else ", "
    return "\n" if "\n" in loose else "" if after[0] == ":" else " "


def prompt_loras(text: str, names: Sequence[str], *, strict: bool = True) -> tuple[
        tuple[WantedLora, ...], str, tuple[str, ...]]:
    """(the LoRAs in a prompt by their listed names, the prompt without them, one line for each that was left out).

    Without `strict`, LoRAs that are not listed are left out. Raises UserError as `read_prompt` and `read_entries` do.
    """
    entries, rest = read_prompt(text)
    left_out, kept = [], []
    for entry in entries:
        try:
            find_lora(entry.name, names)
        except UserError as error:
            if strict:
                raise
            left_out.append(f"Left out: {error}")
        else:
            kept.append(entry)
    return _match_names(kept, names), rest, tuple(left_out)
