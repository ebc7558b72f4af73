"""Which of a user's tags are the character's, and which are the image's: what a bootstrap draws her with.

A tag's class decides (`classes`): traits and clothes are hers, the rest is what this one image shows. A word that is
not known is never hers by itself, because what is hers stands in every prompt, and in the end the trigger means it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .aliases import LOOKS
from .classes import is_creature, is_whole_tag, known_class, shows_a_creature
from .names import is_character
from .tags import distinct_tags
from .vocabulary import Vocabulary, normal

HERS, THE_IMAGES = "+", "-"
"""Written before a tag, these overrule its class: `+holding cup` is hers, `-white dress` only this image's."""
ROLES: Mapping[str, str] = {
    "class": "subject", "count": "subject", "identity": "identity", "outfit": "identity", "quality": "dropped",
}
"""Class -> role; all other classes are what the image shows."""
HEAD_WORDS = frozenset("""
    hair eye eyes ear ears face head mouth lips nose bangs ponytail twintails braid braids bun buns sidelocks ahoge
    freckles beard mustache fang fangs horn horns halo antlers glasses eyewear sunglasses goggles eyepatch mask
    hairclip hairpin hairband headband headphones hat cap beret hood helmet crown tiara earrings earring veil
    makeup lipstick""".split())
"""A tag with one of these words names something of the head."""
LONGEST_TAG = 6
"""In words. What is longer is a sentence."""
MOST_WITH_ARTICLE = 5
"""In words. From this length on an article makes it a sentence: `holding a red cup` is a tag."""
_MARK = re.compile(r"([+-])\s*(?=[^\W_]{2})(.*)", re.DOTALL)
_ARTICLE = re.compile(r"(?:a|an|her|his|the|some)\s+(.+)", re.IGNORECASE)
_NOT_A_TAG = re.compile(r"<[^<>]+>|BREAK|AND|embedding:\S+")
"""Prompt syntax: `<lora:name:0.8>`."""
_ARTICLES = frozenset("a an the".split())
_PROSE = frozenset("is are was were she he they it its her his their there this that which who with and while "
                   "has have wears shows depicts features stands sits".split())


@dataclass(frozen=True)
class TagRoles:
    """A user's tags by role: the subject in general, the traits of this character, or the view of this image.

    Attributes:
        view: in captions of this image only; those on an axis (`axes.axis_of`) also where a prompt asks for `own`.
        dropped: words of quality, which say nothing about the image.
        unknown: those of `view` that no table knows, and sentences.
        forced: those of `identity` that are no traits, but were marked as hers.
    """

    subject: tuple[str, ...]
    identity: tuple[str, ...]
    view: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should look at: what might be hers but is not, and what is hers without being a trait."""
        lines = [f"`{tag}` {_why_not(tag)}: it is kept as this image's. {_remedy(tag)}" for tag in self.unknown]
        lines += [f"`{tag}` is {_described(tag)}, not a trait, but is marked as hers: it will be in every prompt, and "
                  "in the end the trigger means it." for tag in self.forced]
        if not self.identity:
            lines.append("no tag is a trait of hers, so prompts cannot ask for her: write what she has as tags, such "
                         "as fox ears, blonde hair, white dress.")
        return tuple(lines)


def _why_not(tag: str) -> str:
    return "is a sentence" if is_sentence(tag) else "is not a known trait of hers"


def _remedy(tag: str) -> str:
    return "List her traits as tags." if is_sentence(tag) else f"Write +{tag} to make it hers."


def _described(tag: str) -> str:
    name = known_class(tag) or "other"
    return _NOUNS.get(name, f"a word for the {name}")


_NOUNS: Mapping[str, str] = {
    "class": "a word for her kind or job", "count": "a number of people", "pose": "a pose or an action",
    "view": "a word for the view", "expression": "an expression", "object": "an object", "lighting": "a word for light",
    "background": "a word for the place", "style": "a style", "quality": "a word for quality",
    "other": "a word that is not known",
}


def tag_roles(tags: Sequence[str], vocabulary: Vocabulary) -> TagRoles:
    """Sort tags into roles by their class, a word of the vocabulary by its axis. Marks (HERS, THE_IMAGES) overrule both
    and are removed."""
    found: dict[str, list[str]] = {role: [] for role in ("subject", "identity", "view", "dropped", "unknown", "forced")}
    unmarked = [_unmarked(tag) for tag in tags]
    creature = shows_a_creature(tag for tag, _ in unmarked)
    for tag, mark in unmarked:
        role, known = ("subject", True) if creature and is_creature(tag) else _role(tag, vocabulary)
        chosen = {HERS: "identity", THE_IMAGES: "view"}.get(mark, role)
        found[chosen].append(tag)
        if chosen == "identity" != role:
            found["forced"].append(tag)
        if chosen == "view" and not known and not mark:
            found["unknown"].append(tag)
    return TagRoles(**{role: tuple(distinct_tags(each)) for role, each in found.items()})


def _unmarked(tag: str) -> tuple[str, str]:
    marked = _MARK.fullmatch(tag.strip())
    return (marked[2].strip(), marked[1]) if marked else (tag, "")


def _role(tag: str, vocabulary: Vocabulary) -> tuple[str, bool]:
    """(role, whether the tag is known)."""
    if _NOT_A_TAG.fullmatch(tag):
        return "dropped", True
    if vocabulary.names(tag) not in (None, "outfit"):
        return "view", True
    if is_sentence(tag) or is_character(tag):
        return "view", False
    article = _ARTICLE.fullmatch(tag.strip())
    name = known_class(" ".join(_without_two_looks((article[1] if article else tag).split())))
    return ROLES.get(name or "other", "view"), name is not None


def is_sentence(tag: str) -> bool:
    """Whether this is prose rather than a tag. A noun with an article is a tag: `a white dress`."""
    article = _ARTICLE.fullmatch(tag.strip())
    words = _without_two_looks([word.strip(".,;") for word in normal(article[1] if article else tag).split()])
    if len(words) > 1 and tag.rstrip().endswith((".", "!", "?")):
        return True
    prose = _PROSE if len(words) < MOST_WITH_ARTICLE else _PROSE | _ARTICLES
    return len(words) > LONGEST_TAG or (len(words) > 2 and bool(prose.intersection(words)) and not is_whole_tag(tag))


def _without_two_looks(words: list[str]) -> list[str]:
    """`red and white dress` is a dress: the words without a look and the `and` that follows it."""
    looks = [word.lower() for word in words[:3]]
    return words[2:] if len(words) > 3 and looks[1] == "and" and {looks[0], looks[2]} <= LOOKS else words


def is_of_the_head(tag: str) -> bool:
    """Whether a view without the head cannot show what the tag names."""
    return known_class(tag) == "expression" or bool(HEAD_WORDS.intersection(normal(tag).replace("-", " ").split()))


def caption_for(roles: TagRoles, view: Sequence[str], vocabulary: Vocabulary, trigger: str = "") -> tuple[str, ...]:
    """The trigger, the subject, the traits that such a view can show, then the view's own tags that it can show."""
    kept = [tag for tag in (*roles.identity, *view) if vocabulary.shows(tag, view)]
    return tuple(tag for tag in (trigger, *roles.subject, *kept) if tag)

