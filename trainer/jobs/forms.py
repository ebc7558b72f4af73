"""What may be in the zip of a job, and in that of its result. Either may come from a stranger.

    result.json                     Result: how far it came, and on what
    runs/<run>/…                    the run's folder, with its state if it is not finished
    sweeps/<sweep>/…                the sweep's folder, with its scores
    log.txt                         what was reported
    cache/<key>.safetensors         latents and text embeddings, in a result that goes on elsewhere

A result that is not finished also holds the whole job, so that any machine can go on with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.schema import read_record
from ..lora.tensors import TensorFile
from ..pictures.images import IMAGE_SUFFIXES, image_size
from ..records.archive import RUN_KINDS
from ..records.zips import Kind, ZipForm
from ..statements.plain_text import one_line
from ..sweeps.cells import Sweep
from .job import FORMAT, JOB, REMEDY, Job, PackedSets

RESULT, LOG = "result.json", "log.txt"
RUNS, SWEEPS, CACHE = "runs", "sweeps", "cache"
MB = 2**20
_HASH = "[0-9a-f]{64}"
_IMAGE = f"(?i:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})"
_LORA = "[^/]+\\.safetensors"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What result.json holds.

    Attributes:
        job: the job's id.
        finished: whether everything that the job asks for is there.
        step: the last one that was trained, as far as a LoRA of it was saved.
        run, sweep: names of their folders; "" while there is none.
        base: fingerprint of the base that it was trained on.
        missing: what is left to do, in words.
        versions: of this pack, its libraries and the device that trained it.
    """

    format: int
    job: str
    finished: bool
    step: int
    steps: int
    run: str = ""
    sweep: str = ""
    base: str = ""
    missing: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", one_line(self.missing))  # a terminal shows it

    @classmethod
    def load(cls, path: Path) -> Result:
        """Raises UserError for a file that is not a result of this version."""
        found = read_record(path, cls, "is not the result of a job", REMEDY)
        if found.format != FORMAT:
            raise UserError(f"the result has format {found.format}; {FORMAT} is the one that is read here. Update the "
                            "pack, or run the job with this version.")
        return found


def _check_record(path: Path) -> None:
    read_record(path, dict[str, Any])


def _accept(path: Path) -> None:
    """Texts that are shown or read line by line, and never executed."""


_JOB_KINDS = (
    Kind.of("job\\.json", 16 * MB, Job.load),
    Kind.of("images\\.json", 256 * MB, PackedSets.load),
    Kind.of(f"files/{_HASH}/[^/]+{_IMAGE}", 256 * MB, image_size, packed=False),
    Kind.of(f"loras/{_LORA}", 16 * 2**30, TensorFile, packed=False),
)
_SWEEP_KINDS = (
    Kind.of("sweeps/[^/]+/manifest\\.json", 64 * MB, lambda path: Sweep.load(path.parent)),
    Kind.of("sweeps/[^/]+/cells/[0-9a-f]{16}\\.json", MB, _check_record),
    Kind.of("sweeps/[^/]+/cells/[0-9a-f]{16}\\.png", 256 * MB, image_size, packed=False),
    Kind.of("sweeps/[^/]+/(?:grid(?:-[0-9]+)?|scores)\\.png", 1024 * MB, image_size, packed=False),
    Kind.of("sweeps/[^/]+/scores\\.json", 64 * MB, _check_record),
    Kind.of("sweeps/[^/]+/scores\\.csv", 64 * MB, _accept),
)
_RESULT_KINDS = (
    Kind.of("result\\.json", MB, Result.load),
    Kind.of("log\\.txt", 64 * MB, _accept),
    Kind.of(f"cache/{_HASH}\\.safetensors", 1024 * MB, TensorFile, packed=False),
    *RUN_KINDS, *_SWEEP_KINDS,
)
JOB_FORM = ZipForm((*_JOB_KINDS, *_RESULT_KINDS), JOB, "the zip", "a job", "Pack the job again.")
"""A job, or a result that goes on."""
RESULT_FORM = ZipForm(JOB_FORM.kinds, RESULT, "the zip", "a result", "Pack the result again, with lora-bootstrap run "
                      "--only-pack where it was trained.")
