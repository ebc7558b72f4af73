"""What images of a person should show, by their captions: the face uncovered, limbs whole, soft light.

Guide 001 warns of accessories that cover facial features, 003 of cropped limbs and harsh shadows. What most images of a
set have is the character's own, as a mask may be, and is not reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..captions.coverage import kinds_in, plain, says
from .checks import Finding

OWN_SHARE, OWN_IMAGES = 0.5, 3
"""What is tagged in this share of the images, and in so many, belongs to the character."""


@dataclass(frozen=True)
class Trouble:
    """One row: the words of captions for it, and what to do.

    Attributes:
        unless: framings (kinds of the axis `framing`) in which it is as it should be.
        text: with {word} for the word that was found.
    """

    code: str
    severity: str
    words: tuple[str, ...]
    text: str
    unless: tuple[str, ...] = ()


_AWAY = (
    "hanging on", "hanging from",
    *(f"on {the}{thing}" for the in ("the ", "a ", "") for thing in ("wall", "table", "desk", "shelf")),
    *(f"in {whose} {thing}" for whose in ("her", "his", "their", "one") for thing in ("hand", "hands")),
)
"""Where captions in prose say that a thing is, and not who has it on: people too sit on chairs and lie on beds."""


def _laid_away(*nouns: str) -> tuple[str, ...]:
    return tuple(f"{noun} {place}" for noun in nouns for place in _AWAY)


_NOT_WORN = {
    "mask": (*_laid_away("mask"),
             "mask on head", "mask removed", "mask around neck", "mask pull", "mask lift", "unworn mask",
             "holding mask", "holding a mask", "no mask", "without a mask", "removing mask", "mask on headwear"),
    "glasses": (*_laid_away("sunglasses", "glasses"),
                "eyewear on head", "eyewear removed", "eyewear on headwear", "eyewear hang", "eyewear lift",
                "unworn eyewear", "sunglasses on head", "sunglasses removed", "holding sunglasses", "holding eyewear",
                "no sunglasses", "without sunglasses", "sunglasses on her head", "sunglasses on his head",
                "removing eyewear", "adjusting eyewear", "looking over eyewear"),
    "goggles": (*_laid_away("goggles"),
                "goggles on head", "goggles on headwear", "goggles around neck", "unworn goggles", "holding goggles",
                "goggles removed"),
}
"""Noun -> phrases that say what is named by it is not before the face; taggers write them beside the noun itself."""
_OTHERS = {
    ("faceless male", "faceless"): ("1girl", "2girls", "3girls", "multiple girls"),
    ("faceless female", "faceless"): ("1boy", "2boys", "3boys", "multiple boys"),
}
"""Words for another person, and whom a caption must name beside for that."""
TROUBLES: tuple[Trouble, ...] = (
    Trouble("covered face", "warning", (
        "mask", "mouth mask", "surgical mask", "gas mask", "face mask", "half mask", "oni mask", "fox mask", "ski mask",
        "plague doctor mask", "bird mask", "balaclava", "sunglasses", "opaque glasses", "goggles", "blindfold",
        "mouth veil", "covered face", "covered eyes", "covered mouth", "covering face", "covering own face",
        "covering own eyes", "covering own mouth", "covering eyes", "covering mouth", "hand over face",
        "hands over face", "hand over own face", "hands over own face", "hand over own mouth", "hand over eye",
        "hand over own eye", "hands over eyes", "hands on own face", "hand in front of face", "hair over eyes",
        "hair over face", "hat over eyes", "hood over eyes", "shaded face", "obscured face", "hidden face", "faceless",
        "faceless female", "faceless male", "bag on head", "paper bag on head", "object on face",
        "hair covering her face", "hair covering his face", "face hidden", "face covered", "face obscured",
        "partially covered face", "phone covering face", "holding a phone in front of her face", "welding mask",
        "diving mask", "censored face", "identity censor", "bar censor over eyes", "bandaged face",
    ), "is tagged {word!r}: its face is covered, which says little of who it is; use another, or keep the tag."),
    Trouble("cropped head", "warning", (
        "head out of frame", "cropped head", "head cut off", "face out of frame", "eyes out of frame",
        "headless shot", "out of frame head",
    ), "is tagged {word!r}: it does not show the face; crop it otherwise, or use another."),
    Trouble("cropped limbs", "note", (
        "cropped legs", "cropped arms", "cropped hands", "cropped feet", "cropped limbs", "cropped body",
        "feet out of frame", "legs out of frame", "arms out of frame", "hands out of frame", "hand out of frame",
        "legs cut off", "feet cut off", "arms cut off", "hands cut off", "hand cut off", "cut off limbs",
    ), "is tagged {word!r}, but not as a part of the body: say the framing (upper body, cowboy shot), or use a whole "
       "one.", unless=("close-up", "mid")),
    Trouble("hard shadow", "note", (
        "harsh shadow", "harsh shadows", "hard shadow", "hard shadows", "harsh light", "harsh lighting", "hard light",
        "hard lighting", "harsh sunlight", "shadow on face", "shadow over face", "shadow across face",
        "shadow across her face", "shadow across his face", "deep shadows", "deep shadow", "strong shadows",
        "dark shadows", "window shadow", "split lighting",
    ), "is tagged {word!r}: a hard shadow changes the face; soft light is better, or keep the tag so that it binds to "
       "it."),
)


def people_findings(captions: Sequence[str]) -> list[list[Finding]]:
    """For each caption, what is in the way of a person. Empty captions say nothing."""
    found: list[list[Finding]] = [[] for _ in captions]
    texts = [plain(caption) for caption in captions]
    said = max(1, sum(map(bool, texts)))
    for trouble in TROUBLES:
        words = [_word_of(trouble, text) for text in texts]
        own = {word for word in set(words) if words.count(word) >= max(OWN_IMAGES, OWN_SHARE * said)}
        for findings, word in zip(found, words, strict=True):
            if word and word not in own:
                text = trouble.text.format(word=word)
                findings.append(Finding(trouble.code, trouble.severity, None, None, text))
    for findings, tone in zip(found, _odd_tones(texts), strict=True):
        findings.extend([tone] if tone else [])
    return found


SKIN_TONES = {
    "pale skin": ("pale skin", "light skin", "fair skin", "white skin", "pale"),
    "tan": ("tan", "tanned", "tan skin", "tanned skin", "sun tanned skin"),
    "dark skin": ("dark skin", "very dark skin", "brown skin", "black skin", "dark skinned female",
                  "dark skinned male", "dark skinned woman", "dark skinned man"),
}


def _odd_tones(texts: Sequence[str]) -> list[Finding | None]:
    """For each caption, whether it names another skin tone than most that name one, which guide 003 wants alike."""
    tones = [next((tone for tone, words in SKIN_TONES.items() if _names(text, words)), "") for text in texts]
    named = [tone for tone in tones if tone]
    usual = max(SKIN_TONES, key=named.count)
    if 2 * named.count(usual) <= len(named):
        return [None] * len(texts)
    return [Finding("skin tone", "note", None, None, (
        f"is tagged {tone!r}, most of the set {usual!r}: match its colours (PrepareDataset can), or correct the tag."))
        if tone and tone != usual else None for tone in tones]


def _names(text: str, words: Sequence[str]) -> bool:
    """Single words count only as whole tags: a jacket may be tan, and a sky pale."""
    tags = {tag.strip() for tag in text.split(",")}
    return says(text, tuple(word for word in words if " " in word)) or not tags.isdisjoint(words)


def _word_of(trouble: Trouble, text: str) -> str:
    """The longest of its words that a `plain` caption says; "" if none, or if the framing explains it."""
    # One search for all words first: most captions say none, and the exceptions need dozens of searches.
    if not says(text, trouble.words) or set(kinds_in(text, "framing")) & set(trouble.unless):
        return ""
    away = [noun for noun, phrases in _NOT_WORN.items() if says(text, phrases)]
    others = {word for words, people in _OTHERS.items() if says(text, words[:1]) and says(text, people)
              for word in words}
    words = [word for word in trouble.words if word not in others and not any(noun in word for noun in away)]
    return next((word for word in sorted(words, key=len, reverse=True) if says(text, (word,))), "")
