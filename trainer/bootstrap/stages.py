"""The stages of the bootstrap loop, in their order: what each is called and what it makes.

The loop, the nodes (one for each stage) and the status of a project all take ids and titles from STAGES.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage. `{round}` in a text stands for the round's number.

    Attributes:
        key: key of the row. In events and in project.json the round's number follows it: `style-1`.
        title: what the stage is called while it runs, and in the report.
        makes: what it writes, below the output folder.
        counted: appended to the title where the number of images is known.
        label: what it is called in a project's status; "" where it is not listed there.
    """

    key: str
    title: str
    makes: str
    counted: str = ""
    label: str = ""

    @property
    def each_round(self) -> bool:
        return "{round}" in self.makes

    def name(self, number: int = 0) -> str:
        """The stage's id in round `number`."""
        return f"{self.key}-{number}" if self.each_round else self.key

    def name_and_title(self, number: int = 0, count: int | None = None) -> tuple[str, str]:
        """The stage's id and title in round `number`, with the `count` of images if that is known."""
        counted = "" if count is None else self.counted.format(count=count)
        return self.name(number), self.title.format(round=number) + counted


STAGES = {stage.key: stage for stage in (
    Stage("crops", "Crop the image", "bootstrap/{project}/crops", label="Crops"),
    Stage("reference", "The base model's own images", "bootstrap/{project}/reference"),
    Stage("style", "Round {round}: train a style LoRA", "loras/{project}-style-{round}", " on {count} images",
          "Style LoRA {round}"),
    Stage("candidates", "Round {round}: generate candidates", "bootstrap/{project}/round_{round}/candidates",
          label="Candidates {round}"),
    Stage("curate", "Round {round}: choose", "bootstrap/{project}/round_{round}/decisions.json", " from {count}",
          "Pick {round}"),
    Stage("marks", "Draw the marks into the kept images", "bootstrap/{project}/marked"),
    Stage("dataset", "Round {round}: dataset", "bootstrap/{project}/round_{round}/dataset", " of {count}"),
    Stage("character", "Train the character LoRA", "loras/{project}", " on {count} images", "Character LoRA"),
    Stage("grid", "Strength grid", "bootstrap/{project}/grid"),
    Stage("report", "Report", "bootstrap/{project}/report.html"),
)}


def list_stages(depth: int, marks: bool = False) -> list[tuple[Stage, int]]:
    """Every stage of a project with `depth` rounds, with its round, in order. Stages outside the rounds have round
    0.

    Args:
        marks: whether marks are drawn into the kept images, before the last round's dataset is made of them.
    """
    own, stages = STAGES["marks"], [stage for stage in STAGES.values() if stage.key != "marks"]
    growing = [stage for stage in stages if stage.each_round]
    first, last = stages.index(growing[0]), stages.index(growing[-1]) + 1
    rounds = [(stage, number) for number in range(1, depth + 1) for stage in growing]
    if marks:
        rounds.insert(rounds.index((STAGES["dataset"], depth)), (own, 0))
    return [*((stage, 0) for stage in stages[:first]), *rounds, *((stage, 0) for stage in stages[last:])]
