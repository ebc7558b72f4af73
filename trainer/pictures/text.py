"""Text in images: measured, wrapped by width, and written in whatever fonts have its letters.

It uses Pillow's own font, which needs no file but has little more than ASCII. A letter that this lacks comes from the
first of the system's usual fonts (FONTS) that has it, or from PLAIN, or loses its accents, or becomes a box.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from PIL import ImageDraw, ImageFont

INK = "#1d2330"
FONTS = (
    "DejaVuSans.ttf", "segoeui.ttf", "Arial Unicode.ttf", "arial.ttf", "LiberationSans-Regular.ttf",
    "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansJP-Regular.otf", "NotoSansJP-Regular.ttf",
    "YuGothM.ttc", "msgothic.ttc", "msyh.ttc", "malgun.ttf", "ヒラギノ角ゴシック W3.ttc", "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc", "ipag.ttf", "fonts-japanese-gothic.ttf", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf", "seguisym.ttf", "seguiemj.ttf", "NotoEmoji-Regular.ttf", "NotoSansSymbols2-Regular.ttf",
    "Symbola.ttf", "Symbola_hint.ttf", "Apple Symbols.ttf")
"""Files that Pillow looks for in the system's font folders, in this order."""
PLAIN = str.maketrans({"→": ">", "←": "<", "–": "-", "—": "-", "−": "-", "×": "x", "’": "'", "“": '"', "”": '"'})
"""Replacements for characters that no font has."""
_WIDE = "⺀-鿿가-퟿豈-﫿︰-﹏！-￯\U0001f000-\U0003ffff"
_CLOSING = "、。，．！？：；）」』】〕》〉・ー々っゃゅょッャュョ…"
_PIECES = re.compile(rf"\s*(?:[{_WIDE}][{_CLOSING}]*|[_/,]*[^\s_/,{_WIDE}]+[_/,]*|[_/,]+)")
"""Pieces after which a line may be broken: words, parts of file names and tag lists, single Chinese and Japanese
characters."""
_UNSEEN = ("Cc", "Cf", "Cs")
"""Control and format characters, and halves of surrogate pairs."""
_ALIGN = {"left": 0.0, "centre": 0.5, "right": 1.0}


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    except OSError:
        return None


def _font_of(run: str, size: int) -> Font:
    """The font of a run of `_runs`, which names none that cannot be read."""
    return _font(run, size) or ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def _draw_letters(name: str, letters: str) -> bytes | None:
    font = _font(name, 24)
    return bytes(font.getmask(letters)) if font else None


def _has(name: str, letters: str) -> bool:
    """Whether a font has these letters; it draws the same box for every letter that it lacks."""
    return _font(name, 24) is not None and all(
        _draw_letters(name, letter) != _draw_letters(name, "\uffff") for letter in letters)


@lru_cache(maxsize=16384)
def _choose_font(letters: str) -> tuple[str, str]:
    """(font, what to write) for a letter and its accents."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", letters.translate(PLAIN)) if not unicodedata.combining(c))
    found = next((name for name in ("", *FONTS) if _has(name, letters)), None)
    return (found, letters) if found is not None else ("", plain if plain and _has("", plain) else letters[0])


def clean(text: str) -> str:
    """The text on one line, without characters that have no width."""
    text = unicodedata.normalize("NFC", " ".join(str(text).split()))
    return "".join(c for c in text if unicodedata.category(c) not in _UNSEEN and not "\ufe00" <= c <= "\ufe0f")


def _letters(text: str) -> list[str]:
    """The letters of a text, each with its accents."""
    letters: list[str] = []
    for c in text:
        if letters and unicodedata.category(c).startswith("M"):
            letters[-1] += c
        else:
            letters.append(c)
    return letters


@lru_cache(maxsize=16384)
def _runs(text: str) -> tuple[tuple[str, str], ...]:
    """(font, text) of each run in one font. A space takes the font on its left."""
    runs: list[tuple[str, str]] = []
    for letter in _letters(text):
        name, shown = (runs[-1][0] if runs else "", " ") if letter == " " else _choose_font(letter)
        if runs and runs[-1][0] == name:
            shown = runs.pop()[1] + shown
        runs.append((name, shown))
    return tuple(runs)


@lru_cache(maxsize=65536)
def _width(text: str, size: int) -> float:
    return sum(_font_of(name, size).getlength(run) for name, run in _runs(text))


@dataclass(frozen=True)
class Pen:
    """Measures and writes text of one size, in pixels."""

    size: int

    @property
    def line(self) -> int:
        """The distance from one line to the next."""
        return round(self.size * 1.3)

    def width(self, text: str) -> float:
        return _width(text, self.size)

    def natural(self, text: str) -> float:
        """The width of the text on one line."""
        return sum(map(self.width, _PIECES.findall(clean(text))))

    def longest_word(self, text: str) -> float:
        return max((self.width(piece.strip()) for piece in _PIECES.findall(clean(text))), default=0)

    def lines(self, text: str, width: float) -> Iterator[str]:
        """The text in lines of at most `width`. A wider word is broken between letters."""
        line, used = "", 0.0
        for piece in self._pieces(text, width):
            if line and used + self.width(piece) > width:
                yield line
                line, used, piece = "", 0.0, piece.lstrip()
            line, used = line + piece, used + self.width(piece)
        if line:
            yield line

    def _pieces(self, text: str, width: float) -> Iterator[str]:
        for piece in _PIECES.findall(clean(text)):
            if self.width(piece.lstrip()) <= width:
                yield piece
            else:
                yield from _letters(piece)

    def wrap(self, text: str, width: float, most: int | None = None) -> list[str]:
        """The lines. If there are more than `most`, the last one shown ends in …"""
        lines = list(islice(self.lines(text, width), None if most is None else most + 1))
        if most is None or len(lines) <= most:
            return lines
        last = lines[most - 1]
        while last and self.width(last + "…") > width:
            last = last[:-1]
        return [*lines[: most - 1], last.rstrip(" ,_/") + "…"]

    def write(self, draw: ImageDraw.ImageDraw, lines: Sequence[str], at: tuple[float, float], ink: Any = INK,
              width: float = 0, align: str = "left") -> None:
        """Write lines one below the other, from the top left corner `at`, aligned within `width`."""
        for number, line in enumerate(lines):
            x = at[0] + (width - self.width(line)) * _ALIGN[align] if width else at[0]
            for name, run in _runs(line):
                font = _font_of(name, self.size)
                draw.text((x, at[1] + number * self.line + self.size), run, ink, font, anchor="ls")
                x += font.getlength(run)
