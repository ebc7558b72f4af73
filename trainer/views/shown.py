"""What the prompt and the caption of a view say, where an edit model draws it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..captions.roles import TagRoles
from ..captions.tags import same_tag
from ..captions.views import OWN, ViewPrompt
from ..captions.vocabulary import Vocabulary


def shown_words(prompt: ViewPrompt, roles: TagRoles, vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    """(axis, word) of the view, without the trigger and without what the character always has.

    A word that such a view cannot show is in no caption, so nothing asks for it either: no smile from behind. `own` is
    what the original image shows on that axis.
    """
    shown = {same_tag(tag) for tag in prompt.tags}
    for axis, word in prompt.view.items():
        if word == OWN:
            yield from ((axis, tag) for tag in roles.view if vocabulary.axis_of(tag) == axis and same_tag(tag) in shown)
        elif all(same_tag(tag) in shown for tag in vocabulary.said.get(word, (word,))):
            yield axis, word


def with_rest(prompt: ViewPrompt, roles: TagRoles, vocabulary: Vocabulary) -> ViewPrompt:
    """The prompt with the original's own tags on all axes that the view does not change, for a model that changes
    nothing else: the mood, the ground, the light. Without them in the caption, the trigger would come to mean them."""
    rest = (tag for tag in roles.view if vocabulary.axis_of(tag) not in prompt.view)
    return replace(prompt, tags=(*prompt.tags, *(tag for tag in rest if vocabulary.shows(tag, prompt.tags))))
