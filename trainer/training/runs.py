"""The run registry: one folder per training run. An identical finished run is reused, a partial one resumed.

    <root>/<run>/<run>.safetensors              the LoRA, once the run is finished; it keeps its name if the folder
                                                is renamed
                 <run>-step000100.safetensors   checkpoints
                 <run>-average000100-000400.safetensors   averages of some
                 run.json                       what the run is, and how far it got
                 metrics.jsonl                  one JSON object per line
                 images.json                    names and captions of what it is trained on
                 image_losses.jsonl             the loss of each draw of an image: see watched/image_losses.py
                 samples/  state/               previews; the exact training state while unfinished
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import atomic_write, make_folder, move_file, plain_errors, read_json, sync_folder, write_json
from ..common.leftovers import remove_leftovers, temporary_path
from ..common.locks import try_lock, unlock
from ..common.schema import convert
from ..models.backbone import Backbone
from ..models.families import Family
from ..models.precision import choose_precision
from ..proofs.proof import Proof, proof_rows
from .config import AUTO_PRECISION, FULL, LORA, TrainConfig
from .optimizers import OPTIMIZERS

FORMAT = 1
TRAINING, STOPPED, FINISHED = "training", "stopped", "finished"
_FACTS = {"format": int, "key": str, "status": str, "step": int, "lineage": dict, "config": dict}
"""What run.json holds; later versions added the stem of its LoRA files, the proofs, and what shares of the blocks are
recomputed, and in RAM, for want of memory."""
COSMETIC = ("name", "epochs", "state_every", "state_minutes", "data.cache", "data.edit_form", "fit_memory",
            "offload_blocks")
"""Settings that change neither the weights, up to rounding, nor what the run folder will hold. Epochs are counted in
steps, and what edit_form comes to by itself. (gradient_checkpointing does not change the weights either, up to
rounding, but it is in the keys of earlier runs.)"""

LATER = {"compile": False, "method": LORA, "data.set_aside_outliers": False,
         "adapter.kind": "lora", "adapter.rank_stabilized": False,
         "adapter.lokr_factor": -1, "adapter.block_ranks": "",
         "optimizer.max_norm": 0.0, "optimizer.ema_decay": 0.0,
         "objective.loss": "squared", "objective.huber_delta": 0.1, "objective.huber_schedule": "exponential",
         "objective.noise_offset": 0.0, "objective.ip_noise_gamma": 0.0,
         "objective.min_timestep": 0.0, "objective.max_timestep": 1.0,
         "beside_chance": 1.0, "preservation.weight": 0.0, "preservation.prompt": "", "preservation.every": 1,
         "data.prior_loss_weight": 1.0}
"""Settings that came later, and the value at which they count as absent, so that older runs keep their keys."""

OUTPUTS = ("save_every", "save_every_epochs", "validate_every", "preview_every", "preview_prompts")
"""Settings that cannot change the weights, only what is saved along the way."""


def run_key(
    config: TrainConfig, base_fingerprint: str, dataset_fingerprint: str, validation_fingerprint: str = "",
    family: Family | None = None, edit_form: str = "", given: Mapping[str, Any] | None = None,
) -> str:
    """The identity of a run, 64 hexadecimal digits: equal keys end with equal weights (on the same machine).

    Every setting counts except COSMETIC and OUTPUTS, so a new setting counts unless someone decides otherwise here; one
    of LATER counts if it is set. A family or an optimizer counts if it trains otherwise than in earlier versions.
    `edit_form` is how the model is given control images; "" without any. `given` is what else it was given, by name.
    """
    settings = _deciding_settings(config)
    facts = {"settings": settings, "base": base_fingerprint, "dataset": dataset_fingerprint,
             "validation": validation_fingerprint, "format": FORMAT}
    if family is not None and config.adapter.layers in family.renewed:
        facts["family"] = family.name
    if OPTIMIZERS[config.optimizer.name].renewed:
        facts["optimizer"] = config.optimizer.name
    if edit_form:
        facts["edit_form"] = edit_form
    facts |= given or {}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _deciding_settings(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in _flat(config.to_dict()).items()
            if name not in COSMETIC + OUTPUTS and not (name in LATER and value == LATER[name])}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


@dataclass
class Run:
    """A run's folder and what its run.json says. Made by `open_run`, or by `read_run` only to look at it.

    Attributes:
        notes: what `open_run` found that the user should know.
    """

    folder: Path
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()
    _metrics: FileIO | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def stem(self) -> str:
        """Start of the names of its LoRA files. It stays the same when the folder is renamed or copied."""
        return self.facts.get("stem") or _find_stem(self.folder, str(self.facts["config"].get("name", "")))

    @property
    def key(self) -> str:
        return self.facts["key"]

    @property
    def config(self) -> TrainConfig:
        return TrainConfig.of_run(self.facts["config"])

    @property
    def lineage(self) -> dict[str, Any]:
        return self.facts["lineage"]

    @property
    def finished(self) -> bool:
        """Whether it was trained to its last step and its LoRA exists. A run that was stopped early is not finished."""
        return self.facts["status"] == FINISHED and self.final_path.is_file()

    @property
    def ended(self) -> bool:
        """Whether it was once finished or stopped."""
        return self.facts["status"] != TRAINING

    @property
    def step(self) -> int:
        """The step at which the run was finished or stopped; 0 if it never was."""
        return self.facts["step"]

    @property
    def final_path(self) -> Path:
        return self.folder / f"{self.stem}.safetensors"

    @property
    def state_path(self) -> Path:
        """Path of the training state, which exists if there is something to resume."""
        return self.folder / "state" / "state.safetensors"

    @property
    def samples_folder(self) -> Path:
        return self.folder / "samples"

    @property
    def metrics_path(self) -> Path:
        return self.folder / "metrics.jsonl"

    def checkpoint_path(self, step: int) -> Path:
        return self.folder / f"{self.stem}-step{step:06d}.safetensors"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, path) of the LoRA files that exist, by step; the last of a finished run is its final file."""
        pattern = re.compile(re.escape(self.stem) + r"-step(\d+)\.safetensors")
        steps = {int(match[1]): path for path in self.folder.iterdir() if (match := pattern.fullmatch(path.name))}
        if self.finished:
            steps[self.step] = self.final_path
        return sorted(steps.items())

    def average_path(self, first: int, last: int) -> Path:
        """Where an average of checkpoints from the one step to the other goes."""
        return self.folder / f"{self.stem}-average{first:06d}-{last:06d}.safetensors"

    def averages(self) -> list[tuple[int, Path]]:
        """(last step, path) of the averages of checkpoints that exist, by step."""
        pattern = re.compile(re.escape(self.stem) + r"-average\d+-(\d+)(-\d+)?\.safetensors")
        return sorted((int(match[1]), path) for path in self.folder.iterdir()
                      if (match := pattern.fullmatch(path.name)))

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """What the run proved, in the order in which it did; none for runs of earlier versions."""
        rows = self.facts.get("proofs")
        return tuple(proof for row in (rows if isinstance(rows, list) else ()) if (proof := _read_proof(row)))

    def add_proof(self, proof: Proof) -> None:
        """Record a proof in run.json, in place of an earlier one of its name."""
        self.facts["proofs"] = proof_rows((*(other for other in self.proofs if other.name != proof.name), proof))
        write_json(self.folder / "run.json", self.facts)

    @property
    def recomputed(self) -> float:
        """Share of the blocks that are recomputed for want of memory; 0 if there was enough."""
        return self._share("recomputed")

    @property
    def offloaded(self) -> float:
        """Share of the blocks that a fine-tune holds in RAM for want of memory; 0 if there was enough."""
        return self._share("offloaded")

    def _share(self, name: str) -> float:
        share = self.facts.get(name)
        return float(share) if isinstance(share, (int, float)) and 0 <= share <= 1 else 0.0

    def save_recomputed(self, share: float) -> None:
        """Record in run.json that memory needs this share, so that a resumed run begins with it: another share may
        round gradients otherwise."""
        self.facts["recomputed"] = share
        write_json(self.folder / "run.json", self.facts)

    def save_offloaded(self, share: float) -> None:
        """Record in run.json that memory needs this share in RAM, so that a resumed run begins with it."""
        self.facts["offloaded"] = share
        write_json(self.folder / "run.json", self.facts)

    def mark_finished(self, step: int, stopped: bool) -> None:
        """Record that the run ended at `step`. If it was not stopped early, its state is deleted: there is nothing to
        resume."""
        self.close()
        self.facts |= {"status": STOPPED if stopped else FINISHED, "step": step}
        write_json(self.folder / "run.json", self.facts)
        if not stopped:
            self.forget_state()

    def forget_state(self) -> None:
        """Delete the training state, which a finished run does not need, and what a killed process kept beside it."""
        for path in (self.state_path, self._damaged_state):
            with suppress(OSError):  # the run is finished all the same
                path.unlink(missing_ok=True)
        remove_leftovers(self.state_path.parent)

    @property
    def _damaged_state(self) -> Path:
        return self.state_path.with_name("damaged.safetensors")

    def put_state_aside(self) -> None:
        """Rename a state that cannot be resumed, and keep the metrics up to it."""
        self.keep_metrics()
        move_file(self.state_path, self._damaged_state)

    def keep_metrics(self) -> None:
        """Rename metrics.jsonl to metrics-1.jsonl, metrics-2.jsonl, ... before the run starts again."""
        number = 1
        while (kept := self.folder / f"metrics-{number}.jsonl").exists():
            number += 1
        if self.metrics_path.exists():
            move_file(self.metrics_path, kept)

    def append_metrics(self, values: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl; numbers that JSON cannot hold (NaN, infinity) become null."""
        plain = {key: None if isinstance(value, float) and not math.isfinite(value) else value
                 for key, value in values.items()}
        with plain_errors("write", self.metrics_path):
            if self._metrics is None:
                self._metrics = open(self.metrics_path, "ab", buffering=0)  # noqa: SIM115 (kept open)
            self._metrics.write((json.dumps(plain, ensure_ascii=False) + "\n").encode())

    def truncate_metrics(self, step: int) -> None:
        """Drop the lines of steps after `step`, and any line that a killed process left half written."""
        self.close()
        lines = [json.dumps(values, ensure_ascii=False) + "\n" for values in self.metrics() if values["step"] <= step]
        if self.metrics_path.exists():
            atomic_write(self.metrics_path, "".join(lines).encode())

    def metrics(self) -> list[dict[str, Any]]:
        """The complete lines of metrics.jsonl that have a step."""
        return _read_metrics(self.metrics_path)

    @property
    def being_trained(self) -> bool:
        """Whether any process of the machine holds the run's lock at this moment. Asking keeps nobody out."""
        with suppress(OSError), open(self.folder / "state" / "lock", "r+b") as file:
            if not try_lock(file, shared=True, patience=_ASKING):
                return True
            unlock(file)
        return False

    def close(self) -> None:
        """Close metrics.jsonl; a later `append_metrics` opens it again."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock, which only one process of the machine can do; the system frees a dead one's lock.

        Also deletes what a killed process left half written. Raises UserError if another process holds the lock.
        """
        with _lock(self.folder / "state" / "lock", self.name):
            remove_leftovers(self.folder, depth=1, alone=True)
            try:
                yield
            finally:
                self.close()


def open_run(
    root: str | os.PathLike[str], config: TrainConfig, key: str, lineage: Mapping[str, Any] | None = None,
    *, retrain: bool = False,
) -> Run:
    """The folder for a run, under `root`: `<name>`, or `<name>-2`, `<name>-3`, ... if other runs have that name.

    An identical run (equal `key`) is used as it is: a finished one is reused if it saved everything that is asked for
    now (checkpoints, previews), another is resumed. With `retrain` the run is new in any case.

    Raises UserError if the folder cannot be made, or would be outside `root`.
    """
    root = Path(root).resolve()
    remove_leftovers(root)
    others: list[Path] = []
    shorter: list[Run] = []
    number = 1
    while True:
        folder = _confined(root, config.name if number == 1 else f"{config.name}-{number}")
        run = _existing(folder)
        if run is None and not folder.exists():
            with suppress(FileExistsError):  # another process has just made it: look at it again
                created = _create(folder, config, key, lineage or {})
                return replace(created, notes=(*(_describe_other(other, folder) for other in others),
                                               *(_describe_length(run, created) for run in shorter[-1:])))
            continue
        if run is None and (folder / "run.json").is_file():
            others.append(folder)
        if run and not retrain and _differs_in_steps(run, config, lineage or {}):
            shorter.append(run)
        if run and not retrain and run.key == key:
            if run.finished and _keeps(run.config, config):
                run.forget_state()
                return run
            if not run.finished:
                notes = _missing_lora(run)
                run.facts |= {"config": config.to_dict(), "lineage": dict(lineage or {}), "stem": run.stem}
                return replace(run, notes=notes)
        number += 1


def settle_precision(config: TrainConfig, backbone: Backbone,
                     is_known: Callable[[TrainConfig], bool] = lambda config: False) -> TrainConfig:
    """`config` with the precision that "auto" stands for; any other stays as it is.

    Without ComfyUI, earlier versions trained every base in fp32 unless told otherwise. Where such a run exists
    (`is_known`), "auto" goes on with it instead of training another.
    """
    if config.precision != AUTO_PRECISION:
        return config
    if config.method == FULL:
        return config.replace(precision=full_precision(backbone))
    best, earlier = (config.replace(precision=precision) for precision in (choose_precision(backbone), "fp32"))
    return earlier if best != earlier and not is_known(best) and is_known(earlier) else best


def full_precision(backbone: Backbone) -> str:
    """Precision in which a network's own weights are trained: bf16, or fp32 where the device has none or the base is
    in fp32 on the CPU."""
    return settle_full_precision(choose_precision(backbone))


def settle_full_precision(chosen: str) -> str:
    """The same, where a LoRA on the base would be trained in the `chosen` precision."""
    return {"bf16": "bf16"}.get(chosen, "fp32")


def find_run(root: Path, name: str, key: str) -> Run | None:
    """The run with this key among those of the name, as `open_run` would find it."""
    number = 1
    while (folder := _confined(root.resolve(), name if number == 1 else f"{name}-{number}")).exists():
        run = _existing(folder)
        if run is not None and run.key == key:
            return run
        number += 1
    return None


def _describe_other(folder: Path, chosen: Path) -> str:
    return (f"{folder / 'run.json'} does not describe a run of this version, so that folder is left unchanged, and the "
            f"run is in {chosen.name}.")


def _differs_in_steps(run: Run, config: TrainConfig, lineage: Mapping[str, Any]) -> bool:
    """Whether a run is of the same base, images and settings, but for the number of steps."""
    mine, wanted = _deciding_settings(run.config), _deciding_settings(config)
    same = all(run.lineage.get(name) == lineage.get(name) for name in ("base", "dataset", "regularisation", "beside"))
    return same and {name for name in mine | wanted if mine.get(name) != wanted.get(name)} == {"steps"}


def _describe_length(run: Run, chosen: Run) -> str:
    return (f"{run.name} is the same training with {run.config.steps} steps, not {chosen.config.steps}, so this one is "
            f"{chosen.name}. Set steps to {run.config.steps} to go on with {run.name}.")


def _missing_lora(run: Run) -> tuple[str, ...]:
    if run.facts["status"] != FINISHED:
        return ()
    return (f"run {run.name!r} was finished, but {run.final_path.name} is no longer in its folder, so it is trained "
            "again.",)


def read_run(folder: str | os.PathLike[str]) -> Run:
    """The run in a folder, only to look at it. Raises UserError if the folder holds no run."""
    run = _existing(Path(folder).resolve())
    if run is None:
        raise UserError(f"{folder} is not the folder of a training run: it has no run.json. Choose a run's own folder.")
    return run


def run_folders(root: Path) -> list[Path]:
    """The folders directly below `root` that hold a run, by name."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.name[0] != "." and (path / "run.json").is_file())


def read_losses(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) of the run in a folder; [] if nothing was measured. A loss that is not a number is left out."""
    return [(row["step"], row["loss"]) for row in _read_metrics(folder / "metrics.jsonl")
            if is_measured(row.get("loss"))]


def is_measured(value: object) -> bool:
    """Whether a value of metrics.jsonl is a finite number."""
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [row for line in lines if (row := read_metrics_row(line)) is not None]


def read_metrics_row(line: bytes) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None if it is not whole, or has no step."""
    with suppress(ValueError, RecursionError):
        values = json.loads(line.decode(errors="replace"))
        if isinstance(values, dict) and type(values.get("step")) is int and is_measured(values["step"]):
            return values
    return None


def _read_proof(row: Any) -> Proof | None:
    """A proof in run.json; None if the record is damaged."""
    with suppress(UserError):
        proof: Proof = convert(row, Proof, "a proof")
        return proof
    return None


def _existing(folder: Path) -> Run | None:
    if not (folder / "run.json").is_file():
        return None
    facts = read_json(folder / "run.json")
    # a folder made by another version or by someone else is left alone
    return Run(folder, facts) if _is_run(facts) else None


def _is_run(facts: Any) -> bool:
    if not isinstance(facts, dict) or any(type(facts.get(name)) is not kind for name, kind in _FACTS.items()):
        return False
    stem = facts.get("stem", "stem")
    try:
        TrainConfig.of_run(facts["config"])
        return facts["format"] == FORMAT and facts["step"] >= 0 and Path(stem).name == stem
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return False


def _find_stem(folder: Path, name: str) -> str:
    """The stem of the LoRA files in the folder of a run of that name, which an older version did not record."""
    files = (path.stem for path in folder.glob("*.safetensors") if not path.name.startswith("."))
    stems = {re.sub(r"-step\d+$", "", stem) for stem in files}
    if folder.name in stems or not stems:
        return folder.name
    numbered = re.compile(re.escape(name) + r"(-\d+)?")  # others are somebody else's
    return min(filter(numbered.fullmatch, stems), default=folder.name)


def _create(folder: Path, config: TrainConfig, key: str, lineage: Mapping[str, Any]) -> Run:
    """A new run folder, which appears with its run.json already in it. Raises FileExistsError if the name exists."""
    facts = {"format": FORMAT, "key": key, "status": TRAINING, "step": 0, "lineage": dict(lineage),
             "config": config.to_dict(), "stem": folder.name}
    temp = temporary_path(folder)
    try:
        write_json(temp / "run.json", facts)
        os.rename(temp, folder)
        sync_folder(folder.parent)
    except OSError as error:
        if folder.exists():
            raise FileExistsError(folder) from error
        raise UserError(f"cannot make the run folder {folder}: {error.strerror}. Choose another folder.") from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return Run(folder, facts)


def _keeps(have: TrainConfig, want: TrainConfig) -> bool:
    """Whether a run with settings `have` saved everything that `want` asks for; 0 asks for nothing."""
    rows = ((getattr(have, name), getattr(want, name)) for name in OUTPUTS if name != "preview_prompts")
    previews = not (want.preview_every and want.preview_prompts) or have.preview_prompts == want.preview_prompts
    return previews and all(wanted in (0, had) for had, wanted in rows)


def _confined(root: Path, name: str) -> Path:
    folder = (root / name).resolve()
    if folder.parent != root:
        raise UserError(f"run {name!r} would be in {folder}, outside {root}. Choose another name.")
    return folder


@contextmanager
def _lock(path: Path, name: str) -> Iterator[None]:
    with _open_lock(path) as file:
        if not try_lock(file, patience=_STARTING):
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
            raise UserError(f"run {name!r} is already being trained (process {holder}). Wait for it, stop it, or "
                            "choose another name.")
        with plain_errors("write", path):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        try:
            yield
        finally:
            unlock(file)


def _open_lock(path: Path) -> FileIO:
    make_folder(path.parent)
    with plain_errors("write", path):
        return open(path, "a+b", buffering=0)


_ASKING, _STARTING = 0.01, 0.5
"""Seconds for which a lock is tried again: by who only asks, and by who trains. Another asker holds it for less."""


def latest_checkpoint(run: Run) -> tuple[int, Path]:
    """(step, path) of the run's last LoRA file. Raises UserError if it has none yet."""
    files = run.checkpoints()
    if not files:
        raise UserError(f"run {run.name!r} has no LoRA file yet; continue its training until the first checkpoint is "
                        "saved.")
    return files[-1]
