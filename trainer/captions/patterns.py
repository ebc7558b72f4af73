"""Regular expressions from users, guarded so that no pattern can hang the program.

The `regex` library (which diffusers and transformers require) stops a search that takes too long; a pattern that would
take long even to compile, or that calls itself, is refused beforehand.
"""

from __future__ import annotations

import math
import re
from typing import Any

from ..common.errors import UserError

LONGEST_PATTERN = 200
LONGEST_RESULT = 400
SECONDS = 0.1
"""Time limit for one tag. A harmless pattern takes microseconds."""
MOST_REPEATS = 1000
"""Limit of the product of all numbers in braces: the library expands `(a{50}){50}` when it compiles."""
_GROUPS = re.compile(r"\(\?(?!:|=|!|<=|<!|>|i\)|P?<[A-Za-z_])")
_BRACES = re.compile(r"(?<!\\)\{([^}]*)\}")


class Replacement:
    """A pattern and what replaces its matches; case does not matter.

    Raises:
        UserError: a pattern or template that is wrong, or could take too long to compile.
    """

    def __init__(self, pattern: str, template: str) -> None:
        self.pattern, self.template = pattern, template
        self._compiled = _compile(pattern)
        if len(template) > LONGEST_PATTERN:
            raise UserError(f"the replacement of pattern {pattern!r} has {len(template)} characters; at most "
                            f"{LONGEST_PATTERN} are allowed. Shorten it.")
        self._done: dict[str, str] = {}

    def __call__(self, tag: str) -> str:
        """The tag with every match replaced. Raises UserError if that takes too long, or the template is wrong."""
        if tag not in self._done:
            self._done[tag] = self._replaced(tag)
        return self._done[tag]

    def _replaced(self, tag: str) -> str:
        try:
            result = self._compiled.sub(self.template, tag, timeout=SECONDS)
        except TimeoutError:
            raise UserError(f"pattern {self.pattern!r} takes too long on {tag[:60]!r}; it has a repeat within a "
                            "repeat, or choices that mean the same, such as (a|a)*. Rewrite it without.") from None
        except (_regex().error, IndexError) as error:
            raise UserError(f"the replacement {self.template!r} of pattern {self.pattern!r} is wrong ({error}). Groups "
                            r"are written \1 or \g<name>.") from error
        if len(result) > max(LONGEST_RESULT, len(tag)):
            raise UserError(f"pattern {self.pattern!r} turns {tag[:60]!r} into {len(result)} characters; a tag has at "
                            f"most {LONGEST_RESULT}. Shorten the replacement.")
        return result


def _compile(pattern: str) -> Any:
    if not pattern:
        raise UserError("a pattern is empty; write, for example, ^long (.*)$, or leave it out.")
    if len(pattern) > LONGEST_PATTERN:
        raise UserError(f"a pattern has {len(pattern)} characters; at most {LONGEST_PATTERN} are allowed. Split it.")
    if odd := _GROUPS.search(pattern):
        raise UserError(f"pattern {pattern!r} has {pattern[odd.start():odd.start() + 4]!r}, which is not allowed; the "
                        "only groups with (? are (?: (?= (?! (?<= (?<! (?> (?P<name> and (?i).")
    numbers = [int(number) for brace in _BRACES.findall(pattern) for number in _numbers(pattern, brace)]
    if math.prod(max(1, number) for number in numbers) > MOST_REPEATS:
        raise UserError(f"pattern {pattern!r} repeats too often; the product of the numbers in braces may be at most "
                        f"{MOST_REPEATS}. Use + or *.")
    try:
        return _regex().compile(pattern, _regex().IGNORECASE | _regex().VERSION0)
    except (_regex().error, OverflowError, RecursionError, ValueError) as error:
        raise UserError(f"pattern {pattern!r} is wrong ({error}). For a literal character such as (, write a "
                        "backslash before it.") from error


def _numbers(pattern: str, brace: str) -> list[str]:
    if not re.fullmatch(r"\d{0,4}(,\d{0,4})?", brace):
        raise UserError(f"pattern {pattern!r} has {{{brace}}}; braces hold one or two numbers, such as {{2,4}}.")
    # {2,4} is expanded to the larger number.
    return sorted((number for number in brace.split(",") if number), key=int)[-1:]


def _regex() -> Any:
    try:
        import regex
    except ImportError as error:
        raise UserError("patterns need the regex library, because Python's own cannot be stopped; install it with "
                        "`pip install regex`, or use plain replacements.") from error
    return regex
