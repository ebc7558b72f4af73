"""Whose likeness a project or a LoRA shows, who consented, and who holds the rights: what its author states, and never
a guess."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..common.checks import check, check_choice
from ..common.errors import unknown_name

NOT_STATED = "not stated"
REAL, INVENTED = "real", "invented"
PERSONS = (NOT_STATED, REAL, INVENTED)
ANSWERS = (NOT_STATED, "yes", "no")
USES = ("images", "training", "generating")
"""What a person can consent to: that their images are used, that a model is trained on them, that others generate
images of them (seed guide 003)."""
MOST_LETTERS = 1000
"""Letters of an answer."""
REAL_PERSON = "real person"
"""The kind of LoRA that is trained on one."""


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What the author states. Raises UserError for an answer that is not one of the choices.

    Attributes:
        person: one of PERSONS.
        consent_by: who consented: the person, or who may speak for them.
        consent_written: whether in writing, one of ANSWERS.
        consent_uses: some of USES.
        holder: who holds the rights in the LoRA and in the images that it was trained on.
    """

    person: str = NOT_STATED
    consent_by: str = ""
    consent_written: str = NOT_STATED
    consent_uses: tuple[str, ...] = ()
    holder: str = ""

    def __post_init__(self) -> None:
        check_choice("person", self.person, PERSONS)
        check_choice("consent in writing", self.consent_written, ANSWERS)
        for use in self.consent_uses:
            if use not in USES:
                raise unknown_name("use that a person can consent to", use, USES)
        for name in ("consent_by", "holder"):
            length = len(getattr(self, name))
            check(length <= MOST_LETTERS, f"length of {name}", length, f"at most {MOST_LETTERS} letters")

    def warnings(self, kind: str, licence: str) -> tuple[str, ...]:
        """What is open before others may use the LoRA, one sentence or two each.

        Args:
            kind: what the LoRA was trained as.
        """
        return tuple(self._warn(kind, licence))

    def _warn(self, kind: str, licence: str) -> Iterator[str]:
        if self.person == INVENTED and kind == REAL_PERSON:
            yield "The person is stated to be invented, but the LoRA was trained as a real person."
        if self.shows_real_person(kind):
            yield from self._warn_of_consent("This LoRA shows")
        elif self.person == NOT_STATED:
            yield "It is not stated whether the LoRA shows a real person."
        if not self.holder:
            yield "It is not stated who holds the rights."
        if not licence:
            yield "The licence is not stated, so nobody is allowed to use the LoRA beyond what the law allows."

    def consent_warnings(self, what: str) -> tuple[str, ...]:
        """What is open about the consent of a person who is stated to be real.

        Args:
            what: the subject of the sentences and their verb: `This project shows`.
        """
        return tuple(self._warn_of_consent(what)) if self.person == REAL else ()

    def _warn_of_consent(self, what: str) -> Iterator[str]:
        open_uses = [use for use in USES if use not in self.consent_uses]
        if not self.consent_by:
            yield f"{what} a real person, and consent is not stated. Do not publish or use it without theirs."
        elif open_uses:
            yield f"{what} a real person, whose consent is not stated for: {', '.join(open_uses)}."
        if self.consent_by and self.consent_written != "yes":
            written = "not in writing" if self.consent_written == "no" else "not stated to be in writing"
            yield f"{what} a real person, whose consent is {written}."

    def shows_real_person(self, kind: str) -> bool:
        """Whether it is stated, or the LoRA was trained as one and nothing is stated."""
        return self.person == REAL or self.person == NOT_STATED and kind == REAL_PERSON

    def rows(self, licence: str) -> tuple[tuple[str, str], ...]:
        """(what, what is stated of it) for a table."""
        consent = (("consent by", self.consent_by), ("consent in writing", self.consent_written),
                   ("consent for", ", ".join(self.consent_uses)))
        return (("person", self.person), *(consent if self.person != INVENTED else ()),
                ("rights held by", self.holder), ("licence", licence))

    def to_dict(self, licence: str, warnings: Sequence[str]) -> dict[str, Any]:
        """What rights.json of a release holds: every answer, `not stated` for one that was not given, and warnings."""
        answers = {**asdict(self), "consent_uses": list(self.consent_uses), "licence": licence}
        return {"version": 1, **{name: value or NOT_STATED for name, value in answers.items()},
                "warnings": list(warnings)}
