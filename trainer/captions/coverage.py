"""What a dataset shows according to its captions, what the guides recommend, and what to add: "no view from behind: add
3"."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..common.counts import count_noun
from ..common.errors import unknown_name
from .coverage_words import AXES, ONE_OF_A_PAIR, SEVERAL_PEOPLE, CoverageAxis
from .kinds import KINDS, name_lora, order_kinds

FEW_SAY = 0.5
"""If less than this share of the captions says anything on an axis, its shares mean nothing, and the only advice is to
name it in the captions."""


@dataclass(frozen=True)
class Purpose:
    """How many images a LoRA of this purpose needs, and on which axes they should vary.

    Attributes:
        title: as in `an object LoRA`.
        thorough: the number that the guide to high-fidelity characters asks for; None where it says nothing.
        axes: keys of `coverage_words.AXES`; none where the guides' shares cannot be met.
    """

    title: str
    least: int
    most: int
    thorough: tuple[int, int] | None = None
    axes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str) -> Purpose:
        """That of a kind of LoRA, of a bootstrap's first round, which has four crops of one image (seed guide 000), or
        of regularisation images."""
        if name in _OTHERS:
            return _OTHERS[name]
        kind = KINDS[name]
        return cls(name_lora(name), kind.least, kind.most, kind.thorough, kind.axes)


BOOTSTRAP, REGULARISATION = "bootstrap", "regularisation"
_OTHERS = {BOOTSTRAP: Purpose("the first style LoRA of a bootstrap", 4, 4),
           REGULARISATION: Purpose("the regularisation of a training", 1, 10_000)}
"""Purposes of sets that are not for one kind of LoRA."""
PURPOSES = {name: Purpose.of(name) for name in (*order_kinds("character", "style", BOOTSTRAP), REGULARISATION)}


@dataclass(frozen=True)
class Bar:
    """One kind of an axis.

    Attributes:
        pictures: number of images that show it, out of the `of` images whose captions say anything on the axis.
        least, most: the shares the guides recommend, 0..1; 0 and 1 if they do not say.
    """

    name: str
    pictures: int
    of: int
    least: float
    most: float

    @property
    def share(self) -> float:
        """0..1."""
        return self.pictures / self.of if self.of else 0.0

    @property
    def fits(self) -> bool:
        """Whether the share is within the guides' range, to within half an image."""
        slack = 0.5 / self.of if self.of else 0.0
        return self.least - slack <= self.share <= self.most + slack


@dataclass(frozen=True)
class AxisCoverage:
    """The bars of one axis.

    Attributes:
        unsaid: number of images whose captions say nothing on it.
        advice: what to add or reduce, one line each.
    """

    axis: str
    title: str
    bars: tuple[Bar, ...]
    unsaid: int
    advice: tuple[str, ...]


@dataclass(frozen=True)
class Coverage:
    """All axes, and the number of images for the purpose."""

    purpose: str
    pictures: int
    axes: tuple[AxisCoverage, ...]
    count_advice: str

    @property
    def advice(self) -> tuple[str, ...]:
        """All lines of advice, that on the number of images first."""
        lines = [line for axis in self.axes for line in axis.advice]
        return tuple([self.count_advice] if self.count_advice else []) + tuple(lines)


def coverage(captions: Sequence[str], purpose: str = "character", known: Iterable[str] | None = None) -> Coverage:
    """What the images show according to their captions (booru tags or prose).

    Args:
        known: the words the base model knows, if they are few; kinds without such a word are not asked for.

    Raises UserError for an unknown purpose.
    """
    if purpose not in PURPOSES:
        raise unknown_name("purpose", purpose, PURPOSES)
    texts = [plain(caption) for caption in captions]
    row = PURPOSES[purpose]
    axes = tuple(_axis_coverage(name, _within(axis, known), texts, name in row.axes) for name, axis in AXES.items())
    return Coverage(purpose, len(captions), axes, _count_advice(len(captions), row))


def _within(axis: CoverageAxis, known: Iterable[str] | None) -> CoverageAxis:
    """The axis with only the kinds that these words can express; unchanged if there are none."""
    words = None if known is None else {plain(word) for word in known}
    kinds = {name: kind for name, kind in axis.kinds.items() if words is None or words.intersection(kind.words)}
    return dataclasses.replace(axis, kinds=kinds) if kinds else axis


def plain(caption: str) -> str:
    """The caption as the word tables spell it: lower case, spaces for underscores and hyphens, no escapes."""
    text = re.sub(r":\d+(\.\d+)?\)", ")", caption.replace("\\", "").lower())
    return " ".join(re.sub(r"[_\-()]", " ", text).split())


def says(text: str, words: Iterable[str]) -> bool:
    """Whether a `plain` caption contains one of the words or phrases, as whole words."""
    return bool(_pattern(tuple(words)).search(text))


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(r"(?<![\w/])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w/])")


def kinds_in(caption: str, axis: str) -> tuple[str, ...]:
    """The kinds of an axis of `AXES` that a caption names; only the first if the axis is exclusive."""
    found = tuple(name for name, kind in AXES[axis].kinds.items() if says(plain(caption), kind.words))
    return found[:1] if AXES[axis].exclusive else found


def several_people(caption: str) -> str:
    """The words of a caption that say more than one person is visible, "" if there are none."""
    text = plain(caption)
    alone = says(text, ("solo",))
    for words in ((word,) for word in SEVERAL_PEOPLE):
        if says(text, words):
            return words[0]
    pairs = (pair for pair in ONE_OF_A_PAIR if all(says(text, (word,)) for word in pair))
    return next((" and ".join(pair) for pair in pairs if len(pair) == 1 or not alone), "")


def _axis_coverage(name: str, axis: CoverageAxis, texts: Sequence[str], advised: bool) -> AxisCoverage:
    counts = dict.fromkeys(axis.kinds, 0)
    said = 0
    for text in texts:
        found = [kind for kind, words in axis.kinds.items() if says(text, words.words)]
        said += bool(found)
        for kind in found[:1] if axis.exclusive else found:
            counts[kind] += 1
    bars = tuple(Bar(kind, counts[kind], said, words.least, words.most) for kind, words in axis.kinds.items())
    advice = _advice(axis, bars, said, len(texts)) if advised and texts else ()
    return AxisCoverage(name, axis.title, bars, len(texts) - said, tuple(advice))


def _advice(axis: CoverageAxis, bars: Sequence[Bar], said: int, pictures: int) -> Iterable[str]:
    asked = any(kind.least > 0 for kind in axis.kinds.values())
    if said < FEW_SAY * pictures:
        if asked or axis.variety:
            how = axis.say or f"name it in the captions ({', '.join(_ask(axis, bar) for bar in bars)})"
            yield f"only {said} of {pictures} captions name the {axis.title.lower()}: {how}."
        return
    for bar in bars:
        if bar.fits:
            continue
        if bar.share < bar.least:
            more = math.ceil((bar.least * said - bar.pictures) / (1 - bar.least))
            have = "no" if not bar.pictures else f"only {bar.pictures}"
            yield f"{have} {_ask(axis, bar)}: add {max(1, more)}."
        else:
            yield (f"{bar.share:.0%} {_ask(axis, bar)}, but the guides recommend {bar.least:.0%} to {bar.most:.0%}: "
                   "add others, or leave some out.")
    yield from _variety_advice(axis, bars, said)


def _variety_advice(axis: CoverageAxis, bars: Sequence[Bar], said: int) -> Iterable[str]:
    shown = [bar for bar in bars if bar.pictures]
    if axis.variety and len(shown) < min(axis.variety, said):
        missing = [bar.name for bar in bars if not bar.pictures][:3]
        yield (f"{axis.title.lower()} is {' or '.join(bar.name for bar in shown)} in all images: "
               f"add some of {', '.join(missing)}.")
    elif axis.variety and (often := max(shown, key=lambda bar: bar.share)).share > axis.most:
        yield f"{often.share:.0%} of the images have the same {axis.title.lower()} ({often.name}): add others."


def _ask(axis: CoverageAxis, bar: Bar) -> str:
    return axis.kinds[bar.name].ask or bar.name


def _count_advice(count: int, purpose: Purpose) -> str:
    """What the guides say of the number of images. Where they differ, it says so: one asks for 15 to 25 and another for
    150 to 200 of the same character."""
    wanted = f"{purpose.least} to {purpose.most}" if purpose.most > purpose.least else str(purpose.least)
    have = count_noun(count, "image")
    if count < purpose.least:
        return f"{have}, but {purpose.title} needs {wanted}: add {purpose.least - count}."
    if count <= purpose.most or not purpose.axes:
        return ""
    weakest = "More do no harm if each is good and shows something new; leave out the weakest."
    if purpose.thorough is None:
        return f"{have}; most guides ask for {wanted} for {purpose.title}. {weakest}"
    least, most = purpose.thorough
    thorough = f"{least} to {most}"
    if count < least:
        return (f"{have}: most guides ask for {wanted} for {purpose.title}, the one on high-fidelity characters for "
                f"{thorough}. {weakest}")
    if count <= most:
        return (f"{have}, as many as the guide on high-fidelity characters asks for ({thorough}); most guides ask for "
                f"{wanted}. Each should show something new.")
    return (f"{have}, more than the guides ask for: most say {wanted}, the one on high-fidelity characters {thorough}. "
            f"{weakest}")
