"""Which of a user's tags are the character's, and which are the image's: what a bootstrap draws her with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .vocabulary import Vocabulary, normal

SUBJECT_TAGS = ("1girl", "1boy", "1other", "2girls", "no humans", "solo", "girl", "boy", "woman", "man")


FACE_WORDS = ("hair", "eyes", "ears", "bangs", "ponytail", "twintails", "braid", "face", "smile", "mouth", "blush",
              "expressionless", "frown", "glasses", "hairclip", "hat", "horns")
"""Endings of tags that a view without the head cannot show."""


@dataclass(frozen=True)
class TagRoles:
    """A user's tags by role: the subject in general, the traits of this character, or the view of this image."""

    subject: tuple[str, ...]
    identity: tuple[str, ...]
    view: tuple[str, ...]


def tag_roles(tags: Sequence[str], vocabulary: Vocabulary) -> TagRoles:
    """Sort tags into roles; a tag that is in no table counts as a trait of the character."""
    subject = tuple(tag for tag in tags if normal(tag) in SUBJECT_TAGS)
    view = tuple(tag for tag in tags if vocabulary.axis_of(tag))
    return TagRoles(subject, tuple(tag for tag in tags if tag not in subject and tag not in view), view)


def caption_for(roles: TagRoles, view: Sequence[str], vocabulary: Vocabulary, trigger: str = "") -> tuple[str, ...]:
    """The trigger, the subject, the traits that such a view can show, then the view's own tags that it can show."""
    kept = [tag for tag in (*roles.identity, *view) if vocabulary.shows(tag, view)]
    return tuple(tag for tag in (trigger, *roles.subject, *kept) if tag)
