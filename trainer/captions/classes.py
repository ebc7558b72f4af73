"""What a tag is about: identity, outfit, pose, background … by a vocabulary and the grammar of tags.

Captions are sorted by these classes, and only some of them may be absorbed into a trigger (science notes, section 4).
The vocabulary is that of booru tags and of the sandbox. How often it is right is measured against tags judged by hand
(tests/trainer/captions/test_classes.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from .class_words import (
    BODY_PARTS,
    BRACKETS,
    BRITISH,
    COMPOUND_GARMENTS,
    COUNTS_PARTS,
    ENDS,
    EXPRESSIVE,
    GARMENTS,
    IRREGULAR,
    KINDS_OF_BEING,
    MOVES,
    PREPOSITIONS,
    SAYS_IT_IS_WORN,
    STARTS,
    UNDONE,
    WEARERS,
    WHOLE,
)
from .tags import is_face, same_tag, unweighted

ORDER = ("class", "count", "identity", "outfit", "pose", "view", "expression", "object", "other", "lighting",
         "background", "style", "quality")
"""The classes in the order of a caption, after the trigger. `other`: writing, symbols, themes, and unknown words."""
DEFINITIONS: Mapping[str, str] = {
    "class": "the kind of being, her role or job",
    "count": "how many are in the image, and how they are related",
    "identity": "lasting traits of the body: hair, eyes, skin, ears, tails, wings, build, marks",
    "outfit": "what is worn and how it is made: clothes, shoes, jewels, headgear, bags, make-up, and what is left off",
    "pose": "what the body does: stance, gesture, gaze, action, touch, and the handling of things",
    "view": "camera, framing, focus, and which part of the body the image shows",
    "expression": "face, mood and the passing state of the body: smile, tears, sweat, blush",
    "object": "a thing, animal, food, weapon or instrument beside her or in her hands",
    "other": "writing, symbols, themes and whatever fits nowhere",
    "lighting": "light, shadow and glow",
    "background": "place, scenery, furniture, weather, season, sky",
    "style": "medium, technique, layout and colour of the drawing, and its genre",
    "quality": "how good or new the image is said to be, its faults, and the marks and lettering upon it",
}
_NOT_HUMAN = frozenset(("no humans", "anthro", "feral", "furry", "furry male", "furry female", "animal", "monster"))
_MACHINES = frozenset(("mecha", "animal", "pokemon", "digimon"))
_MODELS = frozenset("stuffed teddy rubber toy plush figurine origami baseball".split())
"""A `stuffed cat` is a thing."""
_BEINGS = ("girl", "boy", "woman", "man", "female", "male", "lady", "guy", "person")
_CARRIED = frozenset(f"{where} {part}" for where in ("on", "in") for part in (
    "head", "shoulder", "lap", "hand", "hands", "mouth", "arm", "back"))
_FACE = frozenset("eye eyes eyebrow eyebrows eyelids lips teeth cheeks face brow brows mouth".split())
_PRAISED = _FACE | frozenset("hand hands finger fingers skin hair body anatomy".split())
_PRAISES = frozenset("detailed perfect beautiful".split())
_LASTING = frozenset("glowing sagging floating pointing bulging".split())
_NEGATIONS = ("no ", "without ")
_BRACKET = re.compile(r"^(.+?) ?\(([^()]+)\)$")
_SMILEY = re.compile(r"^(?=.{2,4}$)(?!\d+:\d)(?=.*[:;=><^@|+])[^\s]*( [^\s]+)?$")
_ARTICLES = re.compile(r"(?<= )(?:an?|the) (?=\S)")
_LABELLED = re.compile(r"^(rating|score|source|year|quality|aesthetic):\s*")
_TRAITED = re.compile(r"\b[\w']+-?(haired|eyed|skinned|eared|tailed|horned|winged|legged|breasted|faced|cheeked)\b")


def _loose(text: str) -> str:
    return text.replace("-", " ")


def _index(table: Mapping[str, frozenset[str]]) -> dict[str, str]:
    return {_loose(tag): name for name, tags in table.items() for tag in tags}


_WHOLE = _index(WHOLE)
_STARTS = _index(STARTS)
_ENDS = {**_index(ENDS), **dict.fromkeys(map(_loose, GARMENTS), "outfit")}
_LONGEST = 3


@lru_cache(maxsize=65536)
def known_class(tag: str) -> str | None:
    """The class of a tag, one of ORDER, or None for a tag that no table and no rule knows."""
    return next((name for form in _forms(tag) if (name := _read(form))), None)


def tag_class(tag: str) -> str:
    """The class of a tag, one of ORDER; `other` for a tag that is not known."""
    return known_class(tag) or "other"


def is_whole_tag(tag: str) -> bool:
    """Whether the tag as a whole is in the vocabulary, whatever its grammar."""
    return _loose(plain_form(tag)) in _WHOLE


def is_creature(tag: str) -> bool:
    """Whether the tag names an animal, a monster or a machine that can be the one who is shown: `western dragon`."""
    text = plain_form(tag)
    found = _BRACKET.match(text)
    words = (found[1] if found else text).split()
    return (known_class(tag) == "object" and not _MODELS.intersection(words)
            and (_singular(words[-1]) in KINDS_OF_BEING | _MACHINES))


def shows_a_creature(tags: Iterable[str]) -> bool:
    """Whether an image of these tags shows an animal or a monster instead of a person, or one that is like a person."""
    texts = {plain_form(tag) for tag in tags}
    return bool(_NOT_HUMAN & texts) or not any(
        known_class(text) in ("class", "count", "outfit") or text.endswith((" hair", " skin"))
        for text in texts - {"solo"})


def plain_form(tag: str) -> str:
    """A tag as the tables spell it: lower case, spaces for underscores, American spelling, no weight."""
    text = unweighted(same_tag(tag))
    text = _LABELLED.sub(r"\1 ", text)
    for british, american in BRITISH.items():
        text = text.replace(british, american)
    return text


def _forms(tag: str) -> Iterator[str]:
    """The ways to read a tag, the likeliest first: as it stands, but without a series in brackets; in the singular; in
    the plural; without its hyphens."""
    text = _ARTICLES.sub("", plain_form(tag))
    found = _BRACKET.match(text)
    bare = found[1] if found and found[2] not in BRACKETS else text
    *first, last = bare.split() or [""]
    endings = (last, _singular(last), last + "s", last + "es")
    yield from dict.fromkeys((*(" ".join((*first, word)) for word in endings), _loose(bare)))


def _singular(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    for end, fewer, instead in (("ies", 3, "y"), ("sses", 2, ""), ("shes", 2, ""), ("ches", 2, ""), ("xes", 2, "")):
        if word.endswith(end) and len(word) > len(end) + 1:
            return word[:-fewer] + instead
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _read(text: str) -> str | None:
    """The class by the first rule that knows the text."""
    if name := _WHOLE.get(_loose(text)):
        return name
    if _SMILEY.match(text) or is_face(text.replace(" ", "_")):
        return "expression"
    if text and not any(sign.isalpha() for sign in text):
        return "other"
    words = text.split()
    return next((name for rule in _RULES if words and (name := rule(text, words))), None)


# -- the rules, in the order in which they are asked: each gives a class, or None if it has nothing to say -------------


def _by_bracket(text: str, words: list[str]) -> str | None:
    found = _BRACKET.match(text)
    return BRACKETS.get(found[2]) if found else None


def _by_owner(text: str, words: list[str]) -> str | None:
    return "pose" if {"own", "another's", "other's"} & set(words[1:]) else None


def _by_negation(text: str, words: list[str]) -> str | None:
    return known_class(text.split(" ", 1)[1]) if text.startswith(_NEGATIONS) else None


def _by_compound(text: str, words: list[str]) -> str | None:
    """Ends of several words: `folding fan`, `out of frame`."""
    return _phrase(_ENDS, [tail for tail in _tails(words) if len(tail) > 1])


def _by_start(text: str, words: list[str]) -> str | None:
    """`holding cup`, `from below`; `in forest` is a place, `artist:name` a style."""
    if re.match(r"artist:|@[^\W_]", text):
        return "style"
    if words[0] in ("in", "at", "near", "inside") and _phrase(_ENDS, _tails(words)) == "background":
        return "background"
    return _phrase(_STARTS, [words[:length] for length in range(_LONGEST, 0, -1) if length < len(words)])


def _by_body(text: str, words: list[str]) -> str | None:
    if words[-1] in BODY_PARTS and len(words) > 1 and words[-2] in COUNTS_PARTS:
        return "identity"
    moved = len(words) > 1 and BODY_PARTS.intersection(words[:2]) and MOVES.intersection(words)
    last = _phrase(_ENDS, _tails(words))
    worn = last == "outfit" and not PREPOSITIONS.intersection(words)
    return "pose" if moved and last != "view" and not worn else None


def _by_being(text: str, words: list[str]) -> str | None:
    """`fox girl` and `catgirl` are what she is; `magical girl` and `red mage` are what she does."""
    noun = next((noun for noun in _BEINGS if words[-1].endswith(noun)), "")
    before = words[-1].removesuffix(noun) or " ".join(words[-2:-1])
    if noun and before and (before in KINDS_OF_BEING or _WHOLE.get(before) == "identity" or _TRAITED.search(text)):
        return "identity"
    return "class" if words[-1] in _BEINGS or _WHOLE.get(words[-1]) == "class" else None


def _by_look(text: str, words: list[str]) -> str | None:
    """`half-closed eyes` and `worried face` are how she looks now; `detailed eyes` says how well they are drawn."""
    before = words[:-1]
    if words[-1] in _PRAISED and _PRAISES.intersection(before):
        return "quality"
    if words[-1] == "body" and before and _WHOLE.get(before[-1]) == "identity":
        return "identity"
    return "expression" if words[-1] in _FACE and EXPRESSIVE.intersection(before) else None


def _by_preposition(text: str, words: list[str]) -> str | None:
    """`towel on head` is a towel, but `star in eye` is an eye."""
    place = next((place for place, word in enumerate(words) if place and word in PREPOSITIONS), len(words) - 1)
    if place == len(words) - 1:
        return None
    if words[place:] in (["in", "eye"], ["in", "eyes"]):
        return "identity"
    named = words[:place]
    if _WHOLE.get(" ".join(named)) == "identity" and not _phrase(_ENDS, _tails(named)):
        return None
    return _phrase(_ENDS, _tails(named)) or known_class(" ".join(named)) or (
        "object" if " ".join(words[place:]) in _CARRIED else "other")


def _by_wearer(text: str, words: list[str]) -> str | None:
    """`hair bell`, `hood down`, `bandaged leg`, `hair slicked aside`."""
    last = _phrase(_ENDS, _tails(words))
    if len(words) > 1 and words[0] in WEARERS and last == "object" or words[0] == "bandaged":
        return "outfit"
    if words[0] == "hair" and last is None:
        return "identity"
    undone = next((place for place in (1, 2) if " ".join(words[place:]) in UNDONE), None)
    return "outfit" if undone and _ENDS.get(words[undone - 1]) == "outfit" else None


def _by_participle(text: str, words: list[str]) -> str | None:
    """`bunching hair` is done, though `glowing eyes` are had."""
    acted = len(words) == 2 and len(words[0]) > 5 and words[0].endswith("ing") and words[0] not in _LASTING
    return "pose" if acted and _ENDS.get(words[-1]) == "identity" else None


def _by_end(text: str, words: list[str]) -> str | None:
    return _phrase(_ENDS, _tails(words))


def _by_adjective(text: str, words: list[str]) -> str | None:
    if SAYS_IT_IS_WORN.intersection(words) or words[-1].endswith(COMPOUND_GARMENTS):
        return "outfit"
    return "identity" if _TRAITED.search(text) else None


def _by_gerund(text: str, words: list[str]) -> str | None:
    return "pose" if any(len(word) > 5 and word.endswith("ing") for word in (words[0], words[-1])) else None


_RULES = (_by_bracket, _by_negation, _by_owner, _by_body, _by_compound, _by_start, _by_being, _by_look, _by_wearer,
          _by_preposition, _by_participle, _by_end, _by_adjective, _by_gerund)


def _tails(words: list[str]) -> list[list[str]]:
    return [words[-length:] for length in range(min(_LONGEST, len(words)), 0, -1)]


def _phrase(table: Mapping[str, str], candidates: list[list[str]]) -> str | None:
    return next((name for words in candidates if (name := table.get(_loose(" ".join(words))))), None)


def known_words() -> frozenset[str]:
    """Every single word of the tables."""
    tables = (*WHOLE.values(), *STARTS.values(), *ENDS.values(), GARMENTS)
    return frozenset(word for table in tables for tag in table for word in tag.split())
