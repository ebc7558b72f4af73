"""The candidates of a bootstrap round, shared among several ComfyUI servers and gathered in the project at the desk.

Each server first reports the whole plan of the round, without drawing. Plans must be the same: a candidate's name is a
hash of all that decides its image. Then each draws shares of it, and the desk fetches the images and writes them with
the lineage that was planned, as its own Save Candidates would have.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..bootstrap.candidates import Lineage
from ..bootstrap.planning.shares import ONLY_PLAN, PLAN_REPORT, Share
from ..bootstrap.planning.view_plan import is_kept, keep_candidates
from ..bootstrap.rounds import Project, Round
from ..common.errors import UserError
from ..common.events import Event
from ..common.files import parse_json, plain_errors
from ..common.names import checked_name
from ..common.schema import convert
from ..pictures.images import open_image
from .comfy_host import ComfyHost, HostFailed
from .farm import Wait
from .farm_graph import SAVE, DeskRuns, choose_round, cut_graph, find_project
from .farm_plan import RoundPlan
from .farm_project import SentProject

SHARES = 4
"""Shares for each server: a slow one gets fewer."""
PATIENCE = 120.0
"""Seconds for which servers that have planned wait for those that have not."""
MOST_IMAGES = 64
"""Images of one view that are fetched, where the workflow makes a batch of it."""


@dataclass(frozen=True)
class RoundGathered(Event):
    """All candidates of a round are in the project.

    Attributes:
        planned: how many there are.
        fetched: how many of them were fetched in this command.
    """

    round: Round
    planned: int
    fetched: int


class CandidateWork:
    """The candidates of one round, as `run_farm` shares them. Use as a context manager.

    Raises UserError for a workflow whose round cannot be shared, or a project that is not ready for it.
    """

    def __init__(self, graph: Mapping[str, Any], number: int | None, root: Path, hosts: int) -> None:
        number = choose_round(graph, number)
        self.project = load_project(root, find_project(graph))
        self.round = self.project.round(number)
        self.runs = DeskRuns.of(self.project, root / "loras")
        self.graph = cut_graph(graph, number, self.project, self.runs)
        self.folder, self.fetched = self.round.candidates_folder, 0
        self._shares = [Share(place, SHARES * hosts) for place in range(1, SHARES * hosts + 1)]
        self._sent = SentProject(root, self.project, number, self.graph)
        self._names: dict[ComfyHost, str] = {}
        self._plan: RoundPlan | None = None
        self._unplanned = hosts
        self._lock = threading.Lock()

    def __enter__(self) -> CandidateWork:
        return self

    def __exit__(self, *_: object) -> None:
        self._sent.close()

    @property
    def made_by(self) -> str:
        """What draws, for people."""
        return ", ".join(self.graph.runs) or "the workflow's own models"

    @property
    def count(self) -> int:
        return len(self._shares)

    def list_done(self) -> set[int]:
        return set()

    def begin(self, host: ComfyHost, wait: Wait) -> bool:
        """Let a host plan, and wait until the others have planned or failed: no server draws for a plan that another
        does not have. One that is busy with something else is not waited for longer than PATIENCE."""
        try:
            plan = self._read_plan(host, wait)
        except HostFailed:
            with self._lock:
                self._unplanned -= 1
            raise
        if plan is None:
            return False
        self._agree(plan)
        if not wait.until(lambda: self._unplanned <= 0, PATIENCE):
            return False
        self._gather(host, plan.all)  # what it drew for an earlier command
        return True

    def _agree(self, plan: RoundPlan) -> None:
        """Raises UserError if another server has another plan."""
        with self._lock:
            self._plan = self._plan or plan
            if difference := self._plan.difference(plan):
                raise UserError(f"the servers do not draw the same candidates: {difference}. Give all of them the same "
                                "base files and input images, and one version of ComfyUI, of this pack and of other "
                                "nodes.")
            self._unplanned -= 1

    def _read_plan(self, host: ComfyHost, wait: Wait) -> RoundPlan | None:
        """The plan of a server that has the project by then; None if the farm ended before."""
        if not host.has_input(SAVE, "share"):  # an earlier version would draw the whole round
            raise HostFailed("its Save Candidates has no input share. Install or update LoRA Bootstrap there.")
        self._names[host] = self._sent.name_on(host)
        prompt = host.queue(self.graph.for_server(self._names[host], Share.read(ONLY_PLAN)))
        return RoundPlan.read(host.shown(prompt, PLAN_REPORT), self.round.number) if wait(host, prompt) else None

    def draw(self, host: ComfyHost, number: int, wait: Wait) -> bool:
        assert self._plan is not None, "every host begins before it draws"
        share = self._shares[number]
        wanted = self._plan.of_share(share)
        if not self._missing(wanted):
            return True
        if not wait(host, host.queue(self.graph.for_server(self._names[host], share))):
            return False
        self._gather(host, wanted)
        if missing := self._missing(wanted):
            raise HostFailed(f"it ran the workflow, but {missing[0].name} is not in its project. Replace nodes that "
                             "block what comes after them.")
        return True

    def finish(self) -> RoundGathered:
        assert self._plan is not None
        return RoundGathered(self.round, self._plan.count, self.fetched)

    # -- images ----------------------------------------------------------------------------------------------------

    def _missing(self, wanted: list[Lineage]) -> list[Lineage]:
        return [lineage for lineage in wanted if not is_kept(self.round, lineage)]

    def _gather(self, host: ComfyHost, wanted: list[Lineage]) -> None:
        """Fetch what the desk lacks and the server has."""
        for lineage in wanted:
            if not is_kept(self.round, lineage) and (images := self._fetch_view(host, lineage)):
                keep_candidates(self.round, lineage, images)
                with self._lock:
                    self.fetched += 1

    def _fetch_view(self, host: ComfyHost, lineage: Lineage) -> list[Image.Image]:
        """The images that a server has of a planned view; more than one where its workflow makes a batch."""
        for name in self._possible_names(lineage):
            if (image := self._fetch_image(host, lineage, name)) is not None:
                return [image, *self._fetch_rest(host, lineage, name)]
        return []

    def _fetch_rest(self, host: ComfyHost, lineage: Lineage, name: str) -> Iterator[Image.Image]:
        for place in range(1, MOST_IMAGES):
            image = self._fetch_image(host, lineage, f"{name}-{place}")
            if image is None:
                return
            yield image

    def _possible_names(self, lineage: Lineage) -> list[str]:
        """The planned name, and those of the same view that the desk has sent: where the image is the same, a server
        keeps the name that it had under an earlier key."""
        view = lineage.name.rpartition("-")[0]
        return [lineage.name, *(path.stem for path in self.round.list_candidates()
                                if path.stem.startswith(f"{view}-") and path.stem != lineage.name)]

    def _fetch_image(self, host: ComfyHost, lineage: Lineage, name: str) -> Image.Image | None:
        """An image if the server has it under that name, with the lineage that was planned. Raises HostFailed for a
        file that is not an image, or not of the size that its lineage says."""
        record = host.file(self._remote(host), f"{name}.json")
        told = None if record is None else _read_lineage(record)
        if told is None or replace(told, name=lineage.name, width=0, height=0, generator=lineage.generator) != lineage:
            return None
        data = host.file(self._remote(host), f"{name}.png")
        if data is None:
            return None
        image = _read_image(data)
        if image.size != (told.width, told.height):
            raise HostFailed(f"{name} is not of the size that its lineage says.")
        return image

    def _remote(self, host: ComfyHost) -> str:
        folder = self.round.candidates_folder.relative_to(self.project.folder).as_posix()
        return f"bootstrap/{self._names[host]}/{folder}"


def load_project(root: Path, name: str) -> Project:
    """The project at the desk. Raises UserError if it is not there."""
    folder = root / "bootstrap" / checked_name(name, "project")
    if not (folder / "project.json").is_file():
        raise UserError(f"project {name!r} is not in {root / 'bootstrap'}. Run the workflow up to its Train LoRA here "
                        "first, or give its output folder with --output.")
    return Project.load(folder)


def _read_lineage(data: bytes) -> Lineage:
    try:
        lineage: Lineage = convert(parse_json(data, "a lineage"), Lineage, "a lineage")
    except UserError as error:
        raise HostFailed(f"the lineage of a candidate cannot be read: {error}") from error
    return lineage


def _read_image(data: bytes) -> Image.Image:
    with tempfile.TemporaryDirectory(prefix="lora-bootstrap-farm-") as folder:
        file = Path(folder) / "candidate.png"
        with plain_errors("write", file):
            file.write_bytes(data)
        try:
            return open_image(file)
        except UserError as error:
            raise HostFailed(f"the image of a candidate cannot be read: {error}") from error
