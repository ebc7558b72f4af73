"""Which part of a round's plan one server draws, where several servers draw for the same round."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...common.errors import UserError

Item = TypeVar("Item")
MOST_SHARES = 10_000
ONLY_PLAN = "plan"
PLAN_REPORT = "lora_bootstrap_plan"
"""The entry of a prompt's history under which the node that draws nothing reports the plan."""
_FORM = re.compile(r"([0-9]{1,5}) */ *([0-9]{1,5})")


@dataclass(frozen=True)
class Share:
    """Share `number` of `count` shares. `number` is 0 where nothing is drawn, and only the plan is reported."""

    number: int = 1
    count: int = 1

    @classmethod
    def read(cls, text: str) -> Share:
        """The share that a text names: `2/3`, `plan`, or "" for the whole plan. Raises UserError for another text."""
        text = text.strip().lower()
        if text in ("", ONLY_PLAN):
            return cls(0 if text else 1)
        match = _FORM.fullmatch(text)
        share = cls(*map(int, match.groups())) if match else cls(0)
        if not 1 <= share.number <= share.count <= MOST_SHARES:
            raise UserError(f"share is {text[:40]!r}; it must be such as 2/3 (the second of three, at most "
                            f"{MOST_SHARES}), or plan. Leave it empty to draw all.")
        return share

    @property
    def text(self) -> str:
        """What `read` reads."""
        if self.only_plan:
            return ONLY_PLAN
        return "" if self.whole else f"{self.number}/{self.count}"

    @property
    def whole(self) -> bool:
        return self.count == 1 and not self.only_plan

    @property
    def only_plan(self) -> bool:
        return self.number == 0

    @property
    def draws_wishes(self) -> bool:
        """Whether it draws what a person asked for besides the plan: only one share does."""
        return self.number == 1

    def choose(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `count`-th of a plan, so that the shares are alike in views."""
        return () if self.only_plan else items[self.number - 1::self.count]
