"""The part of a workflow that draws the candidates of one round, as a farm of hosts sends it.

What has been done at the desk is not done again on each server: a Train LoRA is replaced by its finished run, the
candidates of another round by those that are there, and a Curate Images by the dataset of what it kept. Nothing after
the candidates is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bootstrap.config import project_name
from ..bootstrap.planning.shares import Share
from ..bootstrap.rounds import Project
from ..bootstrap.status import project_runs, run_names, style_run
from ..common.errors import UserError
from ..records.read_archive import rename_run
from ..training.runs import read_run

PREFIX = "LoraBootstrap_"
SAVE, PROJECT, TRAIN, FINE_TUNE, CURATE, DATASET, LOAD_RUN, PICK = (PREFIX + name for name in (
    "SaveCandidates", "Project", "TrainLora", "FineTune", "CurateImages", "RoundDataset", "LoadRun", "PickCheckpoint"))
OWN = "lora-bootstrap-farm"
"""Begins the ids of nodes that the workflow does not have."""
TRAIN_OUTPUTS = {2: 0, 5: 1}
"""Output of Train LoRA → the output of Load Run that gives the same: the run, and the path of its last file."""
CURATED_OUTPUTS = {3: 0, 4: 1, 5: 2}
"""Output of Curate Images → that of Round Dataset: the dataset, the next run's name, and the trigger."""
FINAL = "final"

Link = list[Any]
Graph = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class DeskRuns:
    """The finished runs of a project in the desk's output folder.

    Attributes:
        folders: folder → the name that Train LoRA gave the run.
        names: what Train LoRA can call a run of the project.
    """

    folders: Mapping[str, str]
    names: tuple[str, ...]

    @classmethod
    def of(cls, project: Project, loras: Path) -> DeskRuns:
        runs = map(read_run, project_runs(project, loras))
        return cls({run.name: run.facts["config"]["name"] for run in runs if run.finished},
                   run_names(project.name, project.depth))

    def find(self, name: str) -> str:
        """The folder of the one finished run that Train LoRA calls so. Raises UserError if there is not exactly one."""
        found = [folder for folder, given in self.folders.items() if given == name]
        if name not in self.names:
            raise UserError(f"Train LoRA's name is {name!r}; the project's are {', '.join(self.names)}. Put Load "
                            "Run in its place, and copy the run to every server.")
        if not found:
            raise UserError(f"the LoRA {name} is not trained here yet: each server would train its own. Run the "
                            "workflow up to its Train LoRA first.")
        if len(found) > 1:
            raise UserError(f"{', '.join(found)} are all finished runs of {name}. Put Load Run with one of them in the "
                            "place of Train LoRA.")
        return found[0]


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def list_saves(graph: Mapping[str, Any]) -> dict[int, list[str]]:
    """Round → ids of the Save Candidates that draw for it. Raises UserError if a round comes over a link."""
    found: dict[int, list[str]] = {}
    for id, node in graph.items():
        if node["class_type"] == SAVE:
            views = node["inputs"].get("views")
            inputs = _node(graph, views[0])["inputs"] if is_link(views) else {}
            if not isinstance(inputs.get("round"), int):
                raise UserError(f"the round of node {id} (Save Candidates) is not known; link it to a View Prompts "
                                "whose round is a number in its own widget.")
            found.setdefault(inputs["round"], []).append(id)
    return dict(sorted(found.items()))


def choose_round(graph: Mapping[str, Any], number: int | None) -> int:
    """The round whose candidates are drawn: `number`, or the only one. Raises UserError if it is not in the workflow,
    or if there are several."""
    rounds = list(list_saves(graph))
    listed = ", ".join(map(str, rounds))
    if not rounds:
        raise UserError("the workflow draws no candidates; give one with Save Candidates, or leave --round out.")
    if number is None and len(rounds) > 1:
        raise UserError(f"the workflow draws candidates of the rounds {listed}; choose one with --round.")
    if number is not None and number not in rounds:
        raise UserError(f"--round is {number}; the workflow draws candidates of round {listed}.")
    return rounds[0] if number is None else number


def find_project(graph: Mapping[str, Any]) -> str:
    """Name of the workflow's project. Raises UserError if it comes over a link, or if there are several."""
    names = set()
    for id, node in graph.items():
        if node["class_type"] == PROJECT:
            name, trigger = (node["inputs"].get(each, "") for each in ("name", "trigger"))
            if not isinstance(name, str) or not (name.strip() or isinstance(trigger, str)):
                raise UserError(f"the name of node {id} (Bootstrap Project) comes over a link; write it into name.")
            names.add(project_name(name.strip(), str(trigger)))
    if len(names) != 1:
        raise UserError(f"the workflow has {len(names)} projects; give one with exactly one Bootstrap Project.")
    return names.pop()


@dataclass(frozen=True)
class RoundGraph:
    """The nodes that draw a round's candidates.

    Attributes:
        project: the project's name at the desk.
        runs: folders of the project's finished runs that are loaded.
    """

    nodes: Mapping[str, Any]
    project: str
    runs: tuple[str, ...]

    @property
    def only_final(self) -> bool:
        """Whether no other file of a run than its last is picked."""
        return all(node["inputs"].get("which") == FINAL for node in self.nodes.values() if node["class_type"] == PICK)

    def for_server(self, name: str, share: Share) -> Graph:
        """The graph for a server where the project has that name."""
        graph: Graph = deepcopy(dict(self.nodes))
        for id, node in graph.items():
            inputs = node["inputs"]
            if node["class_type"] == PROJECT:
                inputs["name"] = name
            elif node["class_type"] == SAVE:
                inputs["share"] = share.text
            elif node["class_type"] == LOAD_RUN and inputs.get("run") in self.runs:
                inputs["run"] = rename_run(inputs["run"], self.project, name)
            elif id.startswith(OWN) and node["class_type"] == "LoadImage":
                inputs["image"] = f"bootstrap/{name}/{inputs['image']} [output]"
        return graph


def cut_graph(graph: Mapping[str, Any], number: int, project: Project, runs: DeskRuns) -> RoundGraph:
    """The part of a workflow that draws the candidates of round `number`. Raises UserError if it would train."""
    cut = _Cut(graph, number, project, runs)
    for id in list_saves(graph)[number]:
        cut.keep(id)
    return RoundGraph(cut.nodes, project.name, tuple(cut.runs))


class _Cut:
    """Copies the nodes that something depends on, and puts others in the place of those that are done already."""

    def __init__(self, graph: Mapping[str, Any], number: int, project: Project, desk: DeskRuns) -> None:
        self._graph, self._number, self._project, self._desk = graph, number, project, desk
        self.nodes: Graph = {}
        self.runs: dict[str, None] = {}

    def keep(self, id: str) -> None:
        if id in self.nodes:
            return
        node = _node(self._graph, id)
        inputs = dict(node["inputs"])
        self.nodes[id] = {**node, "inputs": inputs}
        if node["class_type"] == PROJECT and (self._project.folder / "picture.png").is_file():
            inputs["picture"] = self._add("picture", "LoadImage", image="picture.png")
        run = inputs.get("run")
        if node["class_type"] == LOAD_RUN and isinstance(run, str) and run in self._desk.folders:
            self.runs[run] = None
        for name, value in inputs.items():
            if is_link(value) and not value[0].startswith(OWN):
                inputs[name] = self._follow(value)

    def _follow(self, link: Link) -> Link:
        """The link by which the same comes in the part."""
        id, slot = link
        node = _node(self._graph, id)
        replace = _STAND_INS.get(node["class_type"])
        found = replace(self, id, node["inputs"], slot) if replace else None
        if found is None:
            self.keep(id)
        return link if found is None else found

    def _add(self, key: str, kind: str, **inputs: Any) -> Link:
        id = f"{OWN}-{key}"
        self.nodes[id] = {"class_type": kind, "inputs": inputs}
        return [id, 0]

    def _replace_save(self, id: str, inputs: Mapping[str, Any], slot: int) -> Link | None:
        """The candidates of another round are as they are: what draws them is left out."""
        if id in list_saves(self._graph)[self._number] or not is_link(inputs.get("project")):
            return None
        return self._follow(inputs["project"])

    def _replace_curation(self, id: str, inputs: Mapping[str, Any], slot: int) -> Link | None:
        if not is_link(inputs.get("project")):
            return None
        project = self._follow(inputs["project"])
        if slot == 0:
            return project
        if slot not in CURATED_OUTPUTS:
            raise UserError(f"node {id} (Curate Images) gives its images or its report to what draws, and no server "
                            "has the candidates that it chooses from. Link its dataset, or load images from files.")
        if not isinstance(inputs.get("round"), int):
            raise UserError(f"the round of node {id} (Curate Images) comes over a link; write it into round.")
        purpose = "character" if inputs["round"] >= self._project.depth else "style"
        made = self._add(f"dataset-{id}", DATASET, project=project, round=inputs["round"], purpose=purpose)
        return [made[0], CURATED_OUTPUTS[slot]]

    def _replace_training(self, id: str, inputs: Mapping[str, Any], slot: int) -> Link:
        if slot not in TRAIN_OUTPUTS:
            raise UserError(f"node {id} (Train LoRA) gives its model or its LoRA straight to what draws; each server "
                            "would train its own. Put Pick Checkpoint between them, linked to run.")
        folder = self._desk.find(self._name_run(id, inputs.get("name")))
        self.runs[folder] = None
        made = self._add(f"run-{id}", LOAD_RUN, run=folder)
        return [made[0], TRAIN_OUTPUTS[slot]]

    def _refuse_fine_tune(self, id: str, inputs: Mapping[str, Any], slot: int) -> Link:
        raise UserError(f"node {id} (Fine-tune Model) would train on each server. Load the model that it has written "
                        "in its place.")

    def _name_run(self, id: str, name: Any) -> str:
        """The name that a Train LoRA gives its run."""
        if is_link(name):
            source = _node(self._graph, name[0])
            kind, inputs = source["class_type"], source["inputs"]
            number = inputs.get("round")
            if isinstance(number, int) and (kind, name[1]) in ((DATASET, 1), (CURATE, 4)):
                last = inputs.get("purpose") == "character" if kind == DATASET else number >= self._project.depth
                return self._project.name if last else style_run(self._project.name, number + 1)
            name = inputs.get("value")
        if isinstance(name, str) and name.strip():
            return name.strip()
        raise UserError(f"the name of node {id} (Train LoRA) is not known here. Write it into name, or put Load Run in "
                        "the place of that node: each server would train its own LoRA.")


_STAND_INS = {SAVE: _Cut._replace_save, CURATE: _Cut._replace_curation, TRAIN: _Cut._replace_training,
              FINE_TUNE: _Cut._refuse_fine_tune}
"""Class of a node → how something else takes its place; None from it keeps the node."""


def _node(graph: Mapping[str, Any], id: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = graph[id]
    except KeyError:
        raise UserError(f"the workflow links to node {id}, which it does not have. Export it again.") from None
    return found
