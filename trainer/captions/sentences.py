"""Says a list of tags as a sentence, for bases whose text encoder was taught by sentences.

    eiei21girl, 1girl, fox ears, blonde hair, white dress, from behind, full body, beach, flat color
    eiei21girl, a girl with fox ears and blonde hair, wearing a white dress, seen from behind, full body, on a beach,
    in flat colours

The parts stay between commas, so that a caption can still be shuffled and shortened part by part. The trigger comes
first, as a name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from .aliases import OWN_RULES
from .classes import is_creature, shows_a_creature, tag_class
from .names import is_character
from .phrases import (
    ADJECTIVES,
    AFTER_A_VERB,
    BEARERS,
    DETERMINERS,
    FRAMINGS,
    GROUPS,
    GROWN,
    LENGTHS,
    PHRASES,
    PREPOSITIONS,
    SEXES,
    SINGULAR_S,
    SOUNDS_LIKE_A_CONSONANT,
    SOUNDS_LIKE_A_VOWEL,
    SUBJECTS,
    TEXTURES,
    UNCOUNTABLE,
    UNSAID,
)
from .tags import distinct_tags, is_face, same_tag, split_tags

PLACES = ("identity", "outfit", "other", "pose", "expression", "object", "angle", "framing", "background", "lighting",
          "style", "quality")
"""Where a tag stands in the sentence: the axes of a view, and the classes of the tags that are on no axis."""
TAGS, SENTENCES = "tags", "sentences"
"""The ways to word a caption or a prompt (`models.families.WORDINGS`)."""
_STANDS_AS = {"height": "angle"}
"""Axis of a view that has no place of its own -> the place where its tags stand."""
MOST_WORDS = 5
"""A part with more words than this is taken for prose, and left as it is written."""


def worded(tags: Sequence[str], wording: str, trigger: str = "", view: Mapping[str, str] | None = None) -> str:
    """The tags as a caption in this wording.

    Args:
        wording: TAGS or SENTENCES.
        trigger: the tag that is a name rather than a description.
        view: axis → tag, where the axis of a tag is known.
    """
    return sentence_for(tags, trigger, view) if wording == SENTENCES else ", ".join(tags)


def sentence_for(tags: Sequence[str], trigger: str = "", view: Mapping[str, str] | None = None) -> str:
    """The tags as one sentence without a full stop. What is unknown stays as it is written, in its place."""
    axes = {same_tag(tag): axis for axis, tag in (view or {}).items()}
    names = {same_tag(name) for name in split_tags(trigger)}
    said = [tag for tag in _without_implied(distinct_tags(tags)) if same_tag(tag) not in names]
    subject, rest = _subject([tag for tag in said if same_tag(tag) not in UNSAID], shows_a_creature(said))
    placed: dict[str, list[str]] = {place: [] for place in PLACES}
    for tag in rest:
        placed[_place(tag, axes)].append(tag)
    start = ", ".join([*split_tags(trigger), *([subject] if subject else [])])
    phrases = [(place, say_tag(tag, place)) for place, found in placed.items()
               for tag in (_merge_hair(found) if place == "identity" else found)]
    if not start and any(place in ("identity", "outfit") for place, _ in phrases):
        start = "a character"
    return _joined(start, phrases)


def is_prose(tags: Iterable[str]) -> bool:
    """Whether one of the parts of a caption is a sentence rather than a tag."""
    return any(len(tag.split()) > MOST_WORDS or tag.endswith(".") for tag in tags)


def say_tag(tag: str, place: str = "other") -> str:
    """One tag as a part of a sentence."""
    text, place = tag.casefold() if is_face(tag) else same_tag(tag), _STANDS_AS.get(place, place)
    if text in PHRASES:
        return PHRASES[text]
    if len(text.split()) > MOST_WORDS or text.endswith(".") or text.split(" ")[0] in PREPOSITIONS:
        return " ".join(tag.replace("_", " ").split())
    return _WAYS[place](text if place in _SPOKEN else tag)


# -- one way to say what is in no table, by place ----------------------------------------------------------------------


def _as_written(tag: str) -> str:
    return tag if is_face(tag) else " ".join(tag.replace("_", " ").split())


def _say_trait(text: str) -> str:
    if text in ADJECTIVES:
        return ADJECTIVES[text]
    return f"with {noun_phrase(text)}"


def _say_garment(text: str) -> str:
    if text in ADJECTIVES:
        return ADJECTIVES[text]
    words = text.split()
    return f"{'with' if words[-1] in BEARERS or words[0] == 'unworn' else 'wearing'} {noun_phrase(text)}"


def _say_pose(text: str) -> str:
    verb, _, rest = text.partition(" ")
    if verb.endswith("ing"):
        return f"{verb} {_object(rest)}".strip()
    return f"{'in' if text.endswith(('pose', 'stance', 'position')) else 'with'} {noun_phrase(text)}"


def _say_expression(text: str) -> str:
    if not any(sign.isalpha() for sign in text):
        return f"making a {text} face"
    return text if text.split()[0].endswith("ing") else f"with {noun_phrase(text)}"


def _say_view(text: str) -> str:
    return f"in {noun_phrase(text)}" if text.endswith(("view", "shot", "angle", "perspective")) else text


def _say_background(text: str) -> str:
    if text.endswith("background"):
        return f"on {noun_phrase(text)}"
    if text.endswith("sky"):
        return f"under {noun_phrase(text)}"
    return f"with {noun_phrase(text)} in the background"


def _say_light(text: str) -> str:
    return f"in {noun_phrase(text)}" if text.endswith(("light", "lighting", "shadow")) else f"with {noun_phrase(text)}"


def _say_style(text: str) -> str:
    plain = text.removesuffix("(medium)").removesuffix("(style)").removesuffix("artstyle").removesuffix("style").strip()
    if text.startswith("@") or text.split()[0] in ("art", "style", "in", "by", "drawn") or not plain:
        return text
    if plain.endswith(("painting", "drawing", "sketch", "print", "render", "photograph")):
        return f"as {noun_phrase(plain)}"
    if plain.endswith(("colors", "colours", "tones", "shading", "palette", "coloring", "lines", "theme")):
        return f"in {noun_phrase(plain)}"
    return f"in {_article(plain)} {plain} style"


_WAYS = {
    "identity": _say_trait, "outfit": _say_garment, "other": _as_written, "pose": _say_pose,
    "expression": _say_expression, "object": _say_pose, "angle": _say_view, "framing": _say_view,
    "background": _say_background, "lighting": _say_light, "style": _say_style, "quality": _as_written,
}
_SPOKEN = frozenset(PLACES) - {"other", "quality"}
"""Places whose tags become grammar, so that they are put into small letters."""


# -- grammar -----------------------------------------------------------------------------------------------------------


def noun_phrase(text: str, article: str = "") -> str:
    """`white dress` as "a white dress", `boots` as "boots", `mole under eye` as "a mole under the eye".

    Args:
        article: the article to use instead of "a" or "an".
    """
    words = text.split()
    cut = next((place for place, word in enumerate(words) if word in PREPOSITIONS and 0 < place < len(words) - 1), None)
    if cut is not None:
        return f"{noun_phrase(' '.join(words[:cut]), article)} {words[cut]} {_after_preposition(words[cut + 1:])}"
    if not words or words[0] in DETERMINERS or words[0].endswith("'s") or _is_plural(words[-1]):
        return text
    return f"{article or _article(text)} {text}"


def _after_preposition(words: Sequence[str]) -> str:
    """`own hip` as "the hip": it is clear whose it is."""
    return noun_phrase(" ".join(word for word in words if word != "own"), "the")


def _object(text: str) -> str:
    """What follows a verb: `cup` as "a cup", `on chair` as "on a chair", `forward` unchanged."""
    first, _, rest = text.partition(" ")
    if first in AFTER_A_VERB or not text:
        return text if not rest else f"{first} {_object(rest)}"
    if first in PREPOSITIONS:
        return f"{first} {_object(rest)}"
    return _after_preposition(text.split()) if first == "own" else noun_phrase(text)


def _is_plural(word: str) -> bool:
    """Whether the noun takes no "a": a plural, or what cannot be counted."""
    if word in UNCOUNTABLE:
        return True
    return word.endswith("s") and word not in SINGULAR_S and not word.endswith(("ss", "us", "is"))


def _article(text: str) -> str:
    vowel = text.startswith(("a", "e", "i", "o", "u", *SOUNDS_LIKE_A_VOWEL))
    return "an" if vowel and not text.startswith(SOUNDS_LIKE_A_CONSONANT) else "a"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


# -- the sentence ------------------------------------------------------------------------------------------------------


def _without_implied(tags: Sequence[str]) -> list[str]:
    """The tags without those that another says more exactly: `animal ears` beside `fox ears`."""
    implied = {same_tag(whole) for tag in tags if tag_class(tag) in ("identity", "outfit")
               for whole in OWN_RULES.implied(tag)}
    return [tag for tag in tags if same_tag(tag) not in implied]


def _subject(tags: Sequence[str], creature: bool = False) -> tuple[str, list[str]]:
    """(who is shown, the tags that do not say it): "a tall fox girl", "two girls", "".

    Args:
        creature: whether an animal among the tags is the one who is shown (`classes.shows_a_creature`).
    """
    texts = {same_tag(tag): tag for tag in tags}
    kinds = {text: text.rpartition(" ")[0] for text in texts if _is_kind(text)}
    nouns = dict.fromkeys(SUBJECTS[text] for text in texts if text in SUBJECTS)
    nouns = nouns or dict.fromkeys(SUBJECTS[text.split()[-1]] for text in kinds)
    grown = dict.fromkeys(noun for text in kinds if (noun := SUBJECTS[text.split()[-1]]) in GROWN.values())
    nouns = dict.fromkeys(noun for noun in nouns | grown if GROWN.get(noun) not in nouns | grown)
    animals = [text for text in texts if is_creature(text)] if creature else []
    if nouns.keys() - {"person"} and "person" in nouns:
        del nouns["person"]
    groups = _counted([GROUPS[text] for text in texts if text in GROUPS and not (text == "couple" and nouns)])
    used = {text for text in texts if text in SUBJECTS or text in GROUPS} | set(animals)
    if animals and nouns.keys() <= SEXES.keys():
        exact = [text for text in animals if not any(other.endswith(f" {text}") for other in animals)]
        sexes = dict.fromkeys(SEXES[noun] for noun in nouns if SEXES.get(noun))
        nouns = dict.fromkeys(" ".join((*sexes, text)) for text in exact)
    found = [*(f"{_article(noun)} {noun}" for noun in nouns), *groups]
    if len(nouns) == 1 and not groups:
        looks = {text: ADJECTIVES[text] for text in texts if text in ADJECTIVES} | kinds
        used |= set(looks)
        whole = " ".join(dict.fromkeys([*looks.values(), *nouns]))
        found = [f"{_article(whole)} {whole}"]
    return _listed(found) if found else "", [tag for text, tag in texts.items() if text not in used]


def _counted(groups: Sequence[str]) -> list[str]:
    """Without "several girls" beside "two girls"."""
    ends = Counter(group.split()[-1] for group in groups)
    return [group for group in groups if not group.startswith("several ") or ends[group.split()[-1]] == 1]


def _is_kind(text: str) -> bool:
    """Whether the tag says what kind of a person it is: `fox girl`, `dark-skinned female`."""
    words = text.split()
    return len(words) == 2 and words[1] in SUBJECTS and text not in SUBJECTS


def _place(tag: str, axes: Mapping[str, str]) -> str:
    if is_character(tag):
        return "other"
    axis = axes.get(same_tag(tag)) or tag_class(tag)
    axis = _STANDS_AS.get(axis, axis)
    if axis == "view":
        return "framing" if same_tag(tag) in FRAMINGS else "angle"
    return axis if axis in PLACES else "other"


def _merge_hair(tags: Sequence[str]) -> list[str]:
    """`long hair, blonde hair` as one trait: `long blonde hair`."""
    hair = [same_tag(tag).removesuffix(" hair") for tag in tags if _is_hair(tag)]
    if len(hair) < 2:
        return list(tags)
    whole = " ".join([*sorted(hair, key=_hair_rank), "hair"])
    first = next(index for index, tag in enumerate(tags) if _is_hair(tag))
    return [whole if index == first else tag for index, tag in enumerate(tags)
            if index == first or not _is_hair(tag)]


def _is_hair(tag: str) -> bool:
    words = same_tag(tag).split()
    return len(words) > 1 and words[-1] == "hair" and not PREPOSITIONS.intersection(words)


def _hair_rank(look: str) -> int:
    return next((rank for rank, looks in enumerate((LENGTHS, TEXTURES)) if look in looks), 2)


def _joined(start: str, phrases: Iterable[tuple[str, str]]) -> str:
    """The start, then the phrases: those of one place that begin with "with" or "wearing" become one."""
    parts: list[list[str]] = []
    places: list[tuple[str, str]] = []
    for place, phrase in phrases:
        lead, _, rest = phrase.partition(" ")
        if lead in ("with", "wearing") and rest and (place, lead) in places:
            parts[places.index((place, lead))].append(rest)
        else:
            parts.append([phrase])
            places.append((place, lead))
    said = [_listed(part) for part in parts]
    if start and places and places[0] == ("identity", "with"):
        return ", ".join([f"{start} {said[0]}", *said[1:]])
    return ", ".join([start, *said] if start else said)
