"""Checks whether a trigger word is a good one: short, in no vocabulary, and without meaning to the base model.

Meaning is measured: how far the word alone moves the network's predictions from those for an empty caption, over fixed
noisy latents and times, compared with made-up words and with words that every model knows (science notes, section 4).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..captions.classes import known_words
from ..captions.tags import same_tag, split_tags
from ..common.errors import UserError
from ..common.events import Event, Progress
from ..models.backbone import Backbone, predict_for

MOST_PIECES = 3
"""Most tokens of a good trigger. Each token has a meaning of its own, and takes space from the rest of the caption."""
LOUD = 0.35
"""From this value on, between made-up words (0) and known ones (1), a word means something."""
MADE_UP, PROBES = 24, 8
KNOWN = ("red hair", "night sky", "smile", "from behind", "white dress", "close-up", "twintails", "grass")
"""Words that every base knows, the sandbox too: the upper end of the scale."""
_ONSETS = "b d f g k l m n p r s t v z br dr gr kr tr sk zw".split()
_VOWELS = "a e i o u ai ou".split()
_COMMON = frozenset("""
    the a an and of in on at by for with from to is are it he she they we you i my your his her our this that these
    those red green blue yellow black white grey gray pink purple orange brown gold silver light dark day night man
    woman boy girl person people child baby cat dog fox bird horse fish bear wolf tiger lion dragon rabbit mouse cow
    pig sheep flower tree rose lily iris daisy ruby amber jade pearl crystal diamond star moon sun sky cloud rain snow
    wind storm fire water earth ice sea ocean river lake mountain forest city town street house home room door window
    table chair bed car bus train boat ship plane bike book pen paper phone computer game music song art style photo
    picture image painting drawing sketch film movie anime manga comic cartoon king queen prince princess knight hero
    angel demon witch wizard elf ninja samurai robot cyborg soldier doctor nurse teacher student school office shop
    food bread cake tea coffee milk apple cherry peach berry lemon honey sugar candy hair eye eyes face hand head body
    heart love hope dream soul spirit magic power new old big small good bad hot cold happy sad beautiful pretty cute
    cool fast slow one two three first last best token character model concept subject test sample default alice anna
    emma maria sarah mary jane kate lucy sophie john james david michael robert max sam alex chris luna nova aria zoe
    mia jack tom ben leo miku asuka rei saber sakura naruto goku zelda link mario batman superman trump musk taylor
    elsa""".split())
"""Words that people try as triggers and that every model has seen."""


@dataclass(frozen=True)
class Loudness:
    """How much a word means to a base model.

    Attributes:
        distance: root mean square distance of its predictions from those for "".
        made_up: median of the same for made-up words; loudest_made_up: the largest.
        known: median of the same for words every base knows.
        quiet_words: the made-up words that mean least, the quietest first.
    """

    distance: float
    made_up: float
    loudest_made_up: float
    known: float
    quiet_words: tuple[str, ...]

    @property
    def meaning(self) -> float:
        """0: as much as a made-up word; 1: as much as a known one. It may lie outside 0..1."""
        return (self.distance - self.made_up) / max(self.known - self.made_up, 1e-12)

    @property
    def inert(self) -> bool:
        """Whether the word means no more than made-up words do."""
        return self.distance <= self.loudest_made_up or self.meaning < LOUD


@dataclass(frozen=True)
class TriggerReport:
    """The result of a check.

    Attributes:
        tokens: number of tokens of the word alone; None: not counted, because there was no base.
        loudness: what the word means to the base; None: not measured, because there was no base.
        problems: reasons against the word, empty if it is a good trigger; remarks: what could be better.
        pieces: its tokens as text; empty if not known.
    """

    trigger: str
    tokens: int | None
    loudness: Loudness | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()

    @property
    def fit(self) -> bool:
        return not self.problems

    def text(self) -> str:
        """For people: the verdict, the reasons, the measurement, and better words."""
        lines = [f"{self.trigger}: {'a good trigger' if self.fit else 'not a good trigger'}"]
        lines += [f"  - {problem}" for problem in self.problems]
        lines += [f"  (note: {remark})" for remark in self.remarks]
        if self.loudness:
            lines.append(f"  meaning to the base: {self.loudness.meaning:.2f} (0 a made-up word, 1 a known one)")
            if not self.fit:
                lines.append(f"  words that mean less: {', '.join(self.loudness.quiet_words)}")
        else:
            lines.append("  meaning to the base: not measured")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        loud = self.loudness
        return {"trigger": self.trigger, "fit": self.fit, "problems": list(self.problems),
                "remarks": list(self.remarks), "pieces": list(self.pieces), "tokens": self.tokens,
                "meaning": loud and round(loud.meaning, 4), "inert": loud and loud.inert,
                "quiet_words": list(loud.quiet_words) if loud else []}


def check_trigger(trigger: str, backbone: Backbone | None = None, vocabulary: Iterable[str] = (), seed: int = 0,
                  progress: Callable[[Event], None] = lambda event: None,
                  tokenize: Callable[[str], Sequence[str]] | None = None) -> TriggerReport:
    """Check a trigger in every way that the arguments allow.

    Args:
        backbone: the base model; None: meaning and tokens are not measured.
        vocabulary: the tags a tagger knows (`[label.name for label in tagger.labels]`).
        progress: called with a Progress after each word measured; may raise to cancel.
        tokenize: the tokens of a text, as a tokenizer's `tokenize`; None: they are counted, but not named.

    Raises:
        UserError: an empty trigger, or several tags, which must be checked one by one.
    """
    if len(split_tags(trigger)) != 1:
        raise UserError(f"trigger {trigger!r} must be one word or tag, such as eiei21girl; check several one by one.")
    word = split_tags(trigger)[0]
    pieces = tuple(piece.replace("</w>", "").strip("▁Ġ") for piece in tokenize(word)) if tokenize else ()
    tokens = backbone.token_count(word)[0] if backbone else len(pieces) or None
    loudness = measure_loudness([word], backbone, seed, progress)[0] if backbone else None
    problems = _collisions(word, vocabulary)
    if loudness and not loudness.inert:
        problems.append(f"the base already means something by it: {loudness.meaning:.2f} on a scale from made-up "
                        "words (0) to known ones (1)")
    return TriggerReport(word, tokens, loudness, tuple(problems), tuple(_remarks(word, tokens, pieces)), pieces)


def _remarks(word: str, tokens: int | None, pieces: Sequence[str]) -> list[str]:
    remarks = []
    if " " in same_tag(word):
        remarks.append("it has several words, and each has a meaning of its own")
    if word != word.lower():
        remarks.append("CLIP's tokenizers ignore capitals; write it in lower case, so that prompts and captions agree")
    if not word.isascii():
        remarks.append("characters other than a-z and 0-9 are split into many tokens")
    if len(same_tag(word)) < 3:
        remarks.append("it is very short; such words are parts of other words")
    if tokens is not None and tokens > MOST_PIECES:
        named = f" ({' '.join(pieces)})" if pieces else ""
        remarks.append(f"it has {tokens} tokens{named}; with {MOST_PIECES} or fewer it is learnt faster")
    if known := [piece for piece in pieces if piece != word and len(piece) > 2 and _is_common(piece)]:
        remarks.append(f"its token {known[0]!r} is a common word, whose meaning shines through")
    return remarks


def _collisions(word: str, vocabulary: Iterable[str]) -> list[str]:
    """Problems with tags and words that it is equal to, or a part of."""
    key, parts = same_tag(word), same_tag(word).split()
    problems = []
    tags = [same_tag(tag) for tag in vocabulary]
    holders = [tag for tag in tags if tag != key and set(parts) <= set(tag.replace("(", " ").replace(")", " ").split())]
    if key in tags:
        problems.append("it is a tag that taggers know")
    elif holders:
        more = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
        problems.append(f"it is a word of the tag {holders[0]!r}{more}")
    if common := [part for part in parts if _is_common(part)]:
        problems.append(f"{common[0]!r} is a common word")
    return problems


def _is_common(word: str) -> bool:
    return word in _COMMON or word in known_words()


def made_up_words(count: int, seed: int = 0) -> tuple[str, ...]:
    """Distinct words that no dictionary has, of two syllables and a number or a letter, such as `kroumi7`."""
    rng = random.Random(f"trigger-{seed}")
    found: dict[str, None] = {}
    while len(found) < count:
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(2)) + rng.choice("2345679xz")
        found[word] = None
    return tuple(found)


def measure_loudness(words: Sequence[str], backbone: Backbone, seed: int = 0,
                     progress: Callable[[Event], None] = lambda event: None) -> tuple[Loudness, ...]:
    """How far each word moves the predictions, compared with made-up and known words. The same for the same seed.

    Raises:
        UserError: a base whose predictions are the same for all words (its text encoder is not connected).
    """
    invented = made_up_words(MADE_UP, seed)
    every = [*words, *invented, *KNOWN]
    distances = dict(zip(every, _distances(every, backbone, seed, progress), strict=True))
    ranked = sorted(invented, key=distances.__getitem__)
    known = median(distances[word] for word in KNOWN)
    if known <= 0:
        raise UserError("the base predicts the same for all words, so this one cannot be measured; check its "
                        "text encoder.")
    middle, loudest = median(distances[word] for word in invented), distances[ranked[-1]]
    return tuple(Loudness(distances[word], middle, loudest, known, tuple(ranked[:5])) for word in words)


@torch.no_grad()
def _distances(words: Sequence[str], backbone: Backbone, seed: int, progress: Callable[[Event], None]) -> list[float]:
    """Root mean square distance of each word's predictions from those for "", over PROBES noisy latents."""
    noisy, times = _probes(backbone, seed)
    silent = predict_for("", backbone, noisy, times)
    distances = []
    for number, word in enumerate(words, 1):
        distances.append((predict_for(word, backbone, noisy, times) - silent).square().mean().sqrt().item())
        progress(Progress("measuring words", number, len(words)))
    return distances


def _probes(backbone: Backbone, seed: int) -> tuple[Tensor, Tensor]:
    """Plain grey with noise at several levels, the same for all words: ([PROBES, C, ...], times [PROBES])."""
    side = max(backbone.family.bucket_step, backbone.family.resolution // 2 // backbone.family.bucket_step
               * backbone.family.bucket_step)
    latents = backbone.encode_images(torch.full((1, 3, side, side), 0.5, device=backbone.device))
    latents = latents.expand(PROBES, *latents.shape[1:])
    # Drawn on the CPU, so that every machine measures with the same noise.
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents)
    times = torch.linspace(0.35, 0.95, PROBES, device=latents.device)
    return backbone.noised(latents, noise, times), times
