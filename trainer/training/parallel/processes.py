"""A team of several processes, started by `accelerate launch`.

`accelerate` gives each process its device and connects them. Gradients go from card to card (NCCL); what the processes
agree on goes over the CPU (gloo), which waits for no card, and which notices at once that a process has ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ...common.errors import UserError
from ...common.events import Events
from ...models.out_of_memory import is_out_of_memory
from .gradients import GradientSum
from .launched import count_launched, launched_rank
from .team import ALONE, Team

PATIENCE = timedelta(hours=1)
"""How long the others wait for a process that neither answers nor has ended: longer than the first one takes for
previews, validation and a checkpoint."""
_FINE, _OUT_OF_MEMORY, _FAILED = 0, 1, 2
_ENDED, _GOES_ON = 0, 1


class TeamLost(UserError):
    """Another process has ended, or does not answer."""


class Processes(Team):
    """The team that this process belongs to; the methods are described in `Team`."""

    def __init__(self, rank: int, size: int, control: Any) -> None:
        """`control`: the gloo group of all processes."""
        self.rank, self.size, self._control = rank, size, control
        self._sum: GradientSum | None = None

    def told(self, make: Callable[[], Any]) -> Any:
        if not self.writes:
            return self._hear()
        try:
            text = json.dumps(make())
        except BaseException:
            with suppress(TeamLost):
                self._tell(None)
            raise
        self._tell(text)
        return json.loads(text)

    @contextmanager
    def first(self) -> Iterator[None]:
        if not self.writes:
            self._hear()
            yield
            return
        said = None
        try:
            yield
            said = "null"
        finally:
            with suppress(*([] if said else [TeamLost])):
                self._tell(said)

    def led(self, events: Events) -> Events:
        if not self.writes:
            with closing(events):
                while self._hear() == _GOES_ON:
                    pass
            return
        said = None
        try:
            for event in events:
                self._tell(str(_GOES_ON))  # so that the others' patience begins anew
                yield event
            said = str(_ENDED)
        finally:
            with suppress(*([] if said else [TeamLost])):
                self._tell(said)

    def largest(self, value: float) -> float:
        return self._largest_of([float(value)])[0]

    def check_same(self, what: str, describe: Callable[[], str]) -> None:
        own = describe()
        if self.any(self.told(lambda: own) != own):
            raise UserError(f"the {what} is not the same in all processes of this training. Give all machines the same "
                            "images, settings, base and version of this pack.")

    @contextmanager
    def step(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        self.committed = False
        try:
            if self._sum is None or self._sum.parameters is not parameters:  # those of an earlier run
                self._sum = GradientSum(parameters)
            yield
        except BaseException as error:
            with suppress(TeamLost):
                self._meet(_OUT_OF_MEMORY if is_out_of_memory(error) else _FAILED, [False] * len(parameters))
            raise
        assert self._sum
        worst, used = self._meet(_FINE, self._sum.present())
        if worst == _OUT_OF_MEMORY:
            raise MemoryError("out of memory in another process")
        if worst == _FAILED:
            raise self._lost()
        self.committed = True
        self._sum.add_up(used, self._reduce)

    def total(self, figures: Tensor) -> Tensor:
        self._reduce(figures)
        return figures

    def _meet(self, state: int, present: Sequence[bool]) -> tuple[int, list[bool]]:
        """(the worst state of any process, whether each parameter has a gradient in any)."""
        worst, *used = self._largest_of([float(state), *map(float, present)])
        return int(worst), list(map(bool, used))

    def _largest_of(self, values: Sequence[float]) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64)
        with self._plain():
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX, group=self._control)
        return tensor.tolist()

    def _reduce(self, tensor: Tensor) -> None:
        with self._plain():  # a text encoder may be trained on the CPU beside a network on a card
            distributed.all_reduce(tensor, group=self._control if tensor.device.type == "cpu" else None)

    def _tell(self, text: str | None) -> None:
        """Send JSON to the others; None says that this process has failed."""
        data = b"" if text is None else text.encode()
        with self._plain():
            distributed.broadcast(torch.tensor([len(data)]), 0, group=self._control)
            if data:
                distributed.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0, group=self._control)

    def _hear(self) -> Any:
        """What the first process tells. Raises TeamLost if it has failed."""
        length = torch.zeros(1, dtype=torch.int64)
        with self._plain():
            distributed.broadcast(length, 0, group=self._control)
            if not length.item():
                raise self._lost()
            data = torch.zeros(int(length.item()), dtype=torch.uint8)
            distributed.broadcast(data, 0, group=self._control)
        return json.loads(data.numpy().tobytes())

    @contextmanager
    def _plain(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._lost() from error

    def _lost(self) -> TeamLost:
        return TeamLost(f"process {self.rank + 1} of {self.size} stops, because another process of this training has "
                        "ended or does not answer; its own message says why. Start the training again: it goes on from "
                        "the last saved state.")


@contextmanager
def join_team() -> Iterator[Team]:
    """The team that a launcher started, with this process's own GPU as the current one; ALONE without a launcher.

    Raises UserError if accelerate is missing, or the processes cannot be connected.
    """
    if count_launched() == 1:
        yield ALONE
        return
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise UserError("training in several processes needs accelerate. Install it: pip install accelerate, or "
                        "lora-bootstrap[gpus].") from error
    state = _connect(PartialState)
    try:
        yield Processes(launched_rank(), count_launched(), distributed.new_group(timeout=PATIENCE, backend="gloo"))
    finally:
        state.destroy_process_group()


def _connect(make: Callable[..., Any]) -> Any:
    """The state of accelerate, which `make` makes, with all processes connected."""
    try:
        state = make(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
        distributed.all_reduce(torch.zeros(1, device=state.device))  # cards connect when they are first used
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of this training cannot be connected: {error}. Give --num_processes at most "
                        "the number of GPUs; on several machines, check --main_process_ip and --main_process_port of "
                        "accelerate launch.") from error
    return state
