"""The plan of a round, as a server reports it: the lineage of every candidate, before anything is drawn.

Names hold a hash of all that decides an image, so two servers draw the same if their plans are the same. What a server
reports is untrusted: each row is read by its types, and a name becomes a path only if it has the form of ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..bootstrap.candidates import Lineage
from ..bootstrap.planning.shares import Share
from ..common.errors import UserError
from ..common.schema import convert
from .comfy_host import HostFailed, plain_line

MOST = 40_000
"""Candidates of one plan."""
_NAME = "r{}-[0-9]{{3,6}}-[0-9a-f]{{6,8}}"
COMPARED = (("base", "the base model"), ("parent_lora_sha256", "the LoRA file"), ("strength", "the LoRA's strength"),
            ("curve", "how the LoRA's strength changes"), ("prompt", "the prompts"), ("seed", "the seeds"),
            ("reference_hash", "the reference images"), ("recipe", "the model's weights, the workflow's settings, or "
                                                                   "the version of a node"))
"""(field of a lineage, what it is for people), from what says most to what says least."""


@dataclass(frozen=True)
class _Report:
    """What one Save Candidates reports, as `DrawRequest.report` writes it."""

    plan: list[Lineage]
    again: list[Lineage]
    unsure: list[str]


@dataclass(frozen=True)
class RoundPlan:
    """Attributes:
        views: what each Save Candidates of the round plans; generators of one round have one each.
        again: what a person asked for besides. Where it is not known what drew the old image, each generator has it
            under the same name, and the first one draws it.
    """

    views: tuple[tuple[Lineage, ...], ...]
    again: tuple[Lineage, ...] = ()

    @classmethod
    def read(cls, rows: Sequence[Any], number: int) -> RoundPlan:
        """The plan of round `number` from what the nodes of a server showed.

        Raises HostFailed for anything that is not such a plan, or UserError if it would be another one at each Run.
        """
        try:
            reports = [convert(row, _Report, "a plan") for row in rows]
        except UserError as error:
            raise HostFailed(f"its plan of the round cannot be read: {error}") from error
        plan = cls(tuple(tuple(report.plan) for report in reports),
                   tuple(wish for report in reports for wish in report.again))
        if not plan._is_of(number):
            raise HostFailed(f"what it reports is not a plan of round {number}. Update the pack there and here.")
        if unsure := sorted({kind for report in reports for kind in report.unsure}):
            raise UserError(f"{plain_line(', '.join(unsure))} may give something else each time, so no two servers "
                            "draw the same. Replace it with a node that always gives the same.")
        return plan

    def _is_of(self, number: int) -> bool:
        views, form = [lineage for plan in self.views for lineage in plan], re.compile(_NAME.format(number))
        planned, wished = ({lineage.name for lineage in each} for each in (views, self.again))
        return (0 < len(self.all) <= MOST and len(planned) == len(views) and planned.isdisjoint(wished)
                and all(lineage.round == number and form.fullmatch(lineage.name) and not lineage.repaired_from
                        for lineage in self.all)
                and not any(lineage.again_of for lineage in views) and all(lineage.again_of for lineage in self.again))

    @property
    def count(self) -> int:
        """Number of candidates."""
        return len({lineage.name for lineage in self.all})

    @property
    def all(self) -> list[Lineage]:
        return [*(lineage for views in self.views for lineage in views), *self.again]

    def of_share(self, share: Share) -> list[Lineage]:
        """What a server draws that is asked for this share."""
        chosen = [lineage for views in self.views for lineage in share.choose(views)]
        return [*chosen, *(self.again if share.draws_wishes else ())]

    def difference(self, other: RoundPlan) -> str:
        """What differs between two plans, for people; "" if both give the same images. What a base file is called does
        not count."""
        mine, theirs = (replaced.all for replaced in (self._without_words(), other._without_words()))
        if mine == theirs:
            return ""
        if len(mine) != len(theirs):
            return f"one plans {len(mine)} candidates, another {len(theirs)}"
        for field, words in COMPARED:
            if any(getattr(one, field) != getattr(two, field) for one, two in zip(mine, theirs, strict=True)):
                return f"{words} differ" if words.endswith("s") else f"{words} differs"
        return "what they record beside the images differs"

    def _without_words(self) -> RoundPlan:
        return RoundPlan((tuple(replace(lineage, generator="") for lineage in self.all),))
