"""The run of a team: its first process writes the folder, and the others only read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...proofs.proof import Proof
from .. import runs
from ..config import TrainConfig
from .team import Team


@dataclass
class FollowedRun(runs.Run):
    """A run that another process writes. Whatever would change its folder does nothing here."""

    def add_proof(self, proof: Proof) -> None:
        pass

    def save_recomputed(self, share: float) -> None:
        self.facts["recomputed"] = share

    def save_offloaded(self, share: float) -> None:
        self.facts["offloaded"] = share

    def mark_finished(self, step: int, stopped: bool) -> None:
        pass

    def forget_state(self) -> None:
        pass

    def put_state_aside(self) -> None:
        pass

    def keep_metrics(self) -> None:
        pass

    def append_metrics(self, values: Mapping[str, Any]) -> None:
        pass

    def truncate_metrics(self, step: int) -> None:
        pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing: the first process holds the lock."""
        yield


def open_run(team: Team, root: Path, config: TrainConfig, key: str, lineage: Mapping[str, Any], *,
             retrain: bool) -> runs.Run:
    """`runs.open_run` by the first process, whose run the others follow.

    Raises UserError as that does, and if another process would train something else, as it does on a machine with
    other images or another base.
    """
    opened: list[runs.Run] = []

    def open_first() -> dict[str, Any]:
        opened.append(runs.open_run(root, config, key, lineage, retrain=retrain))
        return {"folder": str(opened[0].folder), "facts": opened[0].facts}

    told = team.told(open_first)
    team.check_same("run", lambda: key)
    if opened:
        return opened[0]
    run = FollowedRun(Path(told["folder"]), told["facts"])
    if not (run.folder / "run.json").is_file():
        raise UserError(f"{run.folder}, where the first process trains, is not on this machine. Give --output as a "
                        "folder that all machines share.")
    return run
