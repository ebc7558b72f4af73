"""The words with which versions before this one planned the views of a round.

A round that such a version began goes on with them, so that none of its candidates is drawn again: a graph may have
been stopped half-way through it.
"""

from __future__ import annotations

from collections.abc import Sequence

from .roles import TagRoles
from .views import VOCABULARIES
from .vocabulary import Vocabulary, normal

_SUBJECTS = ("1girl", "1boy", "1other", "2girls", "no humans", "solo", "girl", "boy", "woman", "man")
_EXPRESSIONS = ("smile", "expressionless", "open mouth", "closed eyes", "frown", "blush")
_BODY = ("tail", "dress", "skirt", "pants", "shorts", "shoes", "boots", "socks", "thighhighs", "footwear", "full body")


class EarlierVocabulary(Vocabulary):
    """A vocabulary without other names for its words, which took `ponytail` for a tail."""

    def axis_of(self, tag: str) -> str | None:
        return next((axis for axis, tags in self.axes.items() if normal(tag) in tags), None)

    def shows(self, tag: str, view: Sequence[str]) -> bool:
        parts = {normal(part) for part in view}
        revealed = {word for pair, words in self.revealed.items() if parts.issuperset(pair) for word in words}
        hidden = {word for part in parts for word in self.hidden.get(part, ())} - revealed
        return not normal(tag).endswith(tuple(hidden))


_BOORU = EarlierVocabulary(
    "booru",
    {
        "angle": {"looking at viewer": 3, "from side": 2, "three-quarter view": 2, "from behind": 1.5, "from above": 1,
                  "from below": 1},
        "framing": {"full body": 2, "upper body": 2, "cowboy shot": 1, "close-up": 1.5},
        "expression": {"smile": 2, "expressionless": 2, "open mouth": 1, "closed eyes": 0.5, "frown": 0.5},
        "background": {"white background": 2, "outdoors": 1, "city street": 1, "indoors": 1, "beach": 1, "night sky": 1,
                       "sunset": 1},
        "style": {"flat color": 2, "watercolor": 1, "lineart": 1, "oil painting": 1, "pixel art": 0.5},
    },
    {"from behind": ("eyes", "looking at viewer", *_EXPRESSIONS), "close-up": _BODY,
     "upper body": ("shoes", "boots", "socks", "footwear")})


def earlier_vocabulary(vocabulary: Vocabulary) -> EarlierVocabulary:
    """The words that this vocabulary had."""
    if vocabulary.name == _BOORU.name:
        return _BOORU
    now = VOCABULARIES[vocabulary.name]
    return EarlierVocabulary(now.name, now.axes, now.hidden, now.revealed)


def earlier_roles(tags: Sequence[str], vocabulary: EarlierVocabulary) -> TagRoles:
    """The roles that the tags had: whatever was no word of the vocabulary counted as a trait of the character."""
    subject = tuple(tag for tag in tags if normal(tag) in _SUBJECTS)
    view = tuple(tag for tag in tags if vocabulary.axis_of(tag))
    return TagRoles(subject, tuple(tag for tag in tags if tag not in subject and tag not in view), view)
