"""One short training that shows what a base does on this machine: its proofs, memory, time, and a small grid.

Its table is meant to be pasted into a report. A base that cannot be trained has one too, with the reason.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..common.errors import UserError
from ..common.events import Event, Events, Progress, Warned
from ..common.files import write_text
from ..common.names import name_from
from ..datasets.dataset import Dataset
from ..memory.measured import peak_memory
from ..models.backbone import Backbone
from ..models.sampler import Sampler
from ..proofs.proof import COVERAGE, FILE_WORKS, SAME_TEXT, Proof
from ..training.config import TrainConfig
from ..training.events import Finished, Proved, RunStarted, StepDone
from ..training.loop import train
from ..training.presets import preset_config
from ..training.runs import settle_precision
from .cells import prompt_axis
from .draw import lora_sweep, run_sweep
from .sheets import write_sheets

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
STEPS = 20
WARM_UP = 2
"""First steps, whose time is not counted: they load the model and choose kernels."""
REPORT = "prove.md"
_BROKEN = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError, OSError)
"""What a network raises that cannot be trained. Not Exception, which holds the host's Cancel."""


@dataclass
class Trial:
    """What is known so far.

    Attributes:
        facts: of the machine, the base and the settings, by their name in the table.
        proofs: by name.
        failure: why the training ended before its last step; "" if it did not.
        grid, report: the sheet and the table's file; None if there is none.
    """

    facts: dict[str, str]
    proofs: dict[str, Proof] = field(default_factory=dict)
    failure: str = ""
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    lora: Path | None = None
    grid: Path | None = None
    drawn: int = 0
    report: Path | None = None

    @property
    def passed(self) -> bool:
        """Whether the training ended and all three proofs hold."""
        held = {name for name, proof in self.proofs.items() if proof.passed}
        return not self.failure and held == {COVERAGE, SAME_TEXT, FILE_WORKS}

    def rows(self) -> dict[str, str]:
        """The table's rows: name → value."""
        counted = self.seconds[WARM_UP:] or self.seconds
        pace = f"{statistics.median(counted):.3g} (median of {len(counted)})" if counted else "none was made"
        memory = f"{self.memory / 2**30:.2f} GiB" if self.memory else "not measured here"
        return {**self.facts, **{name: self._outcome(name) for name in (COVERAGE, SAME_TEXT, FILE_WORKS)},
                "peak memory": memory, "seconds a step": pace, "grid": f"{self.drawn} of {len(STRENGTHS)} cells",
                **({"failure": self.failure} if self.failure else {})}

    def table(self) -> str:
        """The rows as Markdown."""
        lines = [f"| {name} | {_cell(value)} |" for name, value in self.rows().items()]
        return "\n".join(["| proved | " + ("yes" if self.passed else "NO") + " |", "| --- | --- |", *lines]) + "\n"

    def _outcome(self, name: str) -> str:
        proof = self.proofs.get(name)
        return "not reached" if proof is None else f"{'✓' if proof.passed else '✗'} {proof.words}"


@dataclass(frozen=True)
class Tried(Event):
    """The trial is complete; the last event of `run_trial`."""

    trial: Trial


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|")


def run_trial(backbone: Backbone, dataset: Dataset, output: Path, *, host: str, steps: int = STEPS,
              settings: Mapping[str, Any] | None = None, caution: str = "",
              follow: Callable[[Events, Backbone, TrainConfig], Events] = lambda events, *_: events) -> Events:
    """Train for a few steps on the dataset, and draw the result at eight strengths; the last event is Tried.

    The run is `output`/loras/prove-<family> or the next free name, the sweep in `output`/sweeps has the run's name, and
    the table is saved in the run's folder. Nothing that exists is replaced.

    Args:
        host: the program that runs this, with its version.
        settings: of the training, by dotted name, on top of the family's preset for a character.
        caution: what is to be said of the base: that it is distilled, or may be.
        follow: what passes on the events of the training, and may fit it to the card meanwhile.

    Raises UserError for invalid settings; what goes wrong in the training is in the Trial.
    """
    config = settle_precision(preset_config(backbone.family, "character", {
        "name": name_from(f"prove-{backbone.family.name}", "prove"), "steps": steps, "data.batch_size": 1,
        "data.upscale": True, "optimizer.schedule": "constant", **(settings or {})}), backbone)
    trial = Trial({**_facts(backbone, config, host), **({"caution": caution} if caution else {})})
    if caution:
        yield Warned(caution)
    peak_memory(backbone.device, anew=True)
    folder: Path | None = None
    try:
        training = train(backbone, dataset, config, output / "loras", retrain=True)
        for event in follow(training, backbone, config):
            folder = event.folder if isinstance(event, RunStarted) else folder
            yield from _noted(trial, event, config.steps)
        trial.memory = peak_memory(backbone.device)
        yield from _draw(trial, backbone, dataset, output / "sweeps")
    except _BROKEN as error:
        trial.failure = f"{type(error).__name__}: {error}"
    except UserError as error:
        trial.failure = str(error)
    if trial.failure:
        trial.memory = trial.memory or peak_memory(backbone.device)
    if folder is not None:
        trial.report = folder / REPORT
        write_text(trial.report, trial.table())
    yield Tried(trial)


def _noted(trial: Trial, event: Event, steps: int) -> Iterator[Event]:
    """Take an event of the training into the trial; yields what a progress bar shows of it."""
    if isinstance(event, StepDone):
        trial.seconds.append(event.seconds)
        yield Progress("training step", event.step, steps)
    elif isinstance(event, Proved):
        trial.proofs[event.proof.name] = event.proof
        yield event
    elif isinstance(event, Finished):
        trial.lora = event.path
    elif isinstance(event, Warned):
        yield event


def _draw(trial: Trial, backbone: Backbone, dataset: Dataset, root: Path) -> Events:
    assert trial.lora is not None, "the training ended without an error"
    sampler, prompt = Sampler.of(backbone), dataset.samples[0].caption
    sweep = lora_sweep(_free_folder(root, trial.lora.parent.name), backbone, sampler, [trial.lora], strengths=STRENGTHS,
                       prompts=prompt_axis([prompt]), seeds=[0], title=f"{trial.lora.stem}: strengths")
    yield from run_sweep(backbone, sweep, [trial.lora], sampler)
    trial.drawn = sweep.counts()["done"]
    trial.grid = write_sheets(sweep)[0]


def _free_folder(root: Path, name: str) -> Path:
    folder, number = root / name, 2
    while folder.exists():
        folder, number = root / f"{name}-{number}", number + 1
    return folder


# -- facts -----------------------------------------------------------------------------------------------------------


def _facts(backbone: Backbone, config: TrainConfig, host: str) -> dict[str, str]:
    from ... import __version__

    family, adapter, device = backbone.family, config.adapter, backbone.device
    kinds = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in backbone.network.parameters()})
    return {
        "pack": f"LoRA Bootstrap {__version__}", "host": host,
        "torch": f"{torch.__version__}, Python {platform.python_version()}, {platform.system()}",
        "device": _device_name(device), "family": f"{family.title} ({family.name})",
        "network": f"{type(backbone.network).__name__}, weights in {', '.join(kinds)}",
        "base": backbone.fingerprint[:12],
        "objective": f"{family.objective}, times {family.timestep_density}, weighting {family.weighting}"
                     + ("" if family.guidance is None else f", guidance {family.guidance:g}"),
        "training": f"{config.steps} steps, batch {config.data.batch_size}, {config.data.resolution} px, "
                    f"{config.precision}, rank {adapter.rank}, layers {adapter.layers}"
                    + (", text encoder" if adapter.text_encoder else "")
                    + (", gradient checkpointing" if config.gradient_checkpointing else ""),
        "date": time.strftime("%Y-%m-%d"),
    }


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return f"{device.type} ({platform.machine()})"
    facts = torch.cuda.get_device_properties(device)
    return f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB"


def trial_facts(trial: Trial) -> dict[str, Any]:
    """A trial as JSON values."""
    return {"passed": trial.passed, "table": trial.rows(), "lora": trial.lora, "grid": trial.grid,
            "report": trial.report, "proofs": [asdict(proof) for proof in trial.proofs.values()]}
