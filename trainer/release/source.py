"""What is released: a LoRA file, what its metadata says, and the run that it comes from, if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import UserError
from ..common.files import file_hash
from ..common.names import name_from
from ..datasets.recorded import RecordedImage, read_images
from ..lora.hashes import check_weights, tensor_hash
from ..lora.layers import read_header
from ..lora.metadata import read_count, read_table, read_texts
from ..models.families import FAMILIES, Family
from ..stacks.stack import file_role
from ..sweeps.score import validation_of
from ..training.config import DORA, FULL, LORA
from ..training.runs import Run, latest_checkpoint, read_run
from .texts import fold_prompt

KOHYA_BASES = {"sd_v1": "sd15", "sdxl_base_v1-0": "sdxl"}
"""Families by the `ss_base_model_version` of other trainers, where it names one alone."""
CAPTIONS = "lora_bootstrap.captions"
"""Metadata: a few captions of the training, as they were trained."""


@dataclass(frozen=True)
class Source:
    """Attributes:
        family: None if the file does not say, or says one that this version does not know.
        kind: what it was trained as; "" for files of other programs.
        run: None for a file that lies alone.
        note: how the file was chosen; "" if there was no choice.
    """

    file: Path
    metadata: Mapping[str, str]
    family: Family | None
    kind: str
    run: Run | None
    note: str = ""

    @property
    def name(self) -> str:
        """A name for the release: the run's, or else the file's."""
        return name_from(self.run.name if self.run else self.file.stem, "lora")

    @property
    def trigger(self) -> str:
        return self.metadata.get("modelspec.trigger_phrase", "")

    @property
    def step(self) -> int | None:
        return read_count(self.metadata, "ss_steps")

    @property
    def adapter(self) -> str:
        """The kind of adapter by its network arguments: one of ADAPTER_KINDS, or another algorithm of LyCORIS."""
        args = read_table(self.metadata, "ss_network_args")
        algorithm = str(args.get("algo", LORA)).lower()
        return DORA if algorithm in (LORA, "locon") and str(args.get("dora_wd")).lower() == "true" else algorithm

    @property
    def base_hash(self) -> str:
        """sha256 of the base as this pack or kohya's trainer recorded it; "" if neither did."""
        return next((found for name in ("lora_bootstrap.base_hash", "ss_new_sd_model_hash")
                     if (found := self.metadata.get(name, "")).isalnum()), "")

    @property
    def images(self) -> Sequence[RecordedImage] | None:
        """The subject's images that the run trained on or held back; None if they were not recorded."""
        recorded = self._recorded
        return None if recorded is None else [image for image in recorded if not image.regularisation]

    @property
    def regularisation(self) -> int:
        """Number of regularisation images, as far as they were recorded."""
        return sum(image.regularisation for image in self._recorded or ())

    @property
    def captions(self) -> frozenset[str]:
        """All captions that the run or the file records, as `fold_prompt` has them, but for one that is the trigger
        alone."""
        texts = [*(image.caption for image in self._recorded or ()), *read_texts(self.metadata, CAPTIONS)]
        return frozenset(map(fold_prompt, texts)) - {"", fold_prompt(self.trigger)}

    @property
    def _recorded(self) -> Sequence[RecordedImage] | None:
        return read_images(self.run.folder) if self.run else None

    @property
    def validation(self) -> float | None:
        """Validation loss nearest to its step, divided by the base's; None if it was not measured."""
        return validation_of(self.run).get(self.step or 0) if self.run else None


def open_source(path: Path, step: int | None = None, wanted: Mapping[str, str] | None = None) -> Source:
    """The LoRA file of a run's folder, or a file of its own.

    Args:
        step: of the run's checkpoint; None for the wanted one, or else the last.
        wanted: (hash of a file or of its tensors → why) of files to prefer, such as what a sweep's scores
            recommend.

    Raises UserError if it is neither a run with a LoRA nor a LoRA file, if the run has no checkpoint at that step, if
    it trained a whole network, or if the weights were damaged.
    """
    run, file, note = _open_run(path, step, wanted or {}) if path.is_dir() else (_run_of(path), path, "")
    if run is not None and run.config.method == FULL:
        raise UserError(f"run {run.name!r} trained the whole network, and its file is no LoRA. Extract a LoRA from it, "
                        "and release that.")
    header = read_header(file)
    header.tensors.close()
    check_weights(file)
    return Source(file, header.metadata, _family(header.metadata), file_role(header.metadata), run, note)


def _open_run(path: Path, step: int | None, wanted: Mapping[str, str]) -> tuple[Run, Path, str]:
    run = read_run(path)
    files = dict(run.checkpoints())
    if step is not None:
        if step not in files:
            have = ", ".join(map(str, files)) or "none yet"
            raise UserError(f"run {run.name!r} has no checkpoint at step {step}; it has {have}.")
        return run, files[step], ""
    if wanted:
        for file in (*reversed(files.values()), *(average for _, average in run.averages())):
            if why := wanted.get(file_hash(file)) or wanted.get(tensor_hash(file)):
                return run, file, why
    last, file = latest_checkpoint(run)
    return run, file, f"The last checkpoint is released (step {last})." if len(files) > 1 else ""


def _run_of(file: Path) -> Run | None:
    """The run whose folder a LoRA file lies in, if it is one of its checkpoints or an average of some."""
    if not (file.parent / "run.json").is_file():
        return None
    try:
        run = read_run(file.parent)
    except UserError:
        return None
    return run if any(path.name == file.name for _, path in (*run.checkpoints(), *run.averages())) else None


def _family(metadata: Mapping[str, str]) -> Family | None:
    said = metadata.get("ss_base_model_version", "")
    return FAMILIES.get(metadata.get("lora_bootstrap.family", "") or KOHYA_BASES.get(said, said))


def trained_captions(source: Source) -> list[str] | None:
    """Captions of the images that were trained on; None if they were not recorded."""
    images = source.images
    return None if images is None else [image.caption for image in images if not image.validation]
