"""`lora-bootstrap run` and `import-result`: a job is run on any machine, and its result comes back to the desk."""

from __future__ import annotations

import argparse
import io
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ..terminal.console import Console, load_backbone_quietly
from ..terminal.options import add_likeness_option, add_output_option


def add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("job", type=Path, metavar="JOB",
                         help="zip of a job, zip of a result that goes on, or the folder in which a job was run")
    command.add_argument("--base", default="", metavar="MODEL",
                         help="diffusers folder or .safetensors file of the job's base; default: the sandbox, or a "
                              "file of its name here or beside JOB")
    command.add_argument("--any-base", action="store_true",
                         help="train even on a base that is not the job's by its hash, which gives another LoRA")
    command.add_argument("--work", type=Path, metavar="FOLDER",
                         help="folder to run in, with everything that is made; default: JOB without .zip. On a rented "
                              "machine, one that outlives it")
    command.add_argument("--out", type=Path, metavar="FILE", help="zip for the result; default: WORK-result.zip")
    command.add_argument("--beside", type=Path, action="append", default=[], metavar="FILE",
                         help="LoRA beside the training that is not in the job, known by its hash; may be repeated")
    command.add_argument("--only-pack", action="store_true", help="only write what is there into the result")
    add_likeness_option(command)


def handle_run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...jobs.work import open_work

    if options.job.is_dir() and options.work:
        raise UserError(f"{options.job} is a folder, so the job is run in it. Leave --work out, or give the zip.")
    work = open_work(options.job, options.work, console.say)
    out = options.out or work.folder.with_name(f"{work.folder.name}-result.zip")
    if not options.only_pack:
        try:
            _run(work, options, console)
        except UserError:
            with suppress(UserError):  # what stopped the job is what is reported
                _pack(work, out, console)
            raise
    return _pack(work, out, console)


def _run(work: Any, options: argparse.Namespace, console: Console) -> None:
    """Run the job as far as it comes, and add what is reported to its log."""
    from ...jobs.bases import compare_base, find_job_base
    from ...jobs.run import run_job
    from ..terminal.progress import ProgressBar

    job = work.job
    base = find_job_base(job, options.base, (Path.cwd(), options.job.absolute().parent))
    warning = compare_base(job, base, options.any_base)
    beside = work.find_beside(options.beside)
    with ExitStack() as stack:
        log = stack.enter_context(_Log(work))
        for line in filter(None, (f"job {job.name} ({job.id}) in {work.folder.name}", warning)):
            console.say(line)
            log.write(f"{line}\n")
        backbone = load_backbone_quietly(base, job.base.precision)
        stack.enter_context(_ended_softly())
        console.follow(run_job(work, backbone, beside, options.likeness, console.asked_to_stop),
                       ProgressBar(log, terminal=False))


class _Log(io.TextIOWrapper):
    """The log of a job, without folders of this machine, because it goes into the result."""

    def __init__(self, work: Any) -> None:
        super().__init__(open(work.log, "ab"), encoding="utf-8", errors="replace")  # noqa: SIM115 (closed with it)
        self._folder = work.folder

    def write(self, text: str) -> int:
        from ...release.texts import without_folders

        return super().write(str(without_folders(text.replace(str(self._folder), self._folder.name))))


@contextmanager
def _ended_softly() -> Iterator[None]:
    """While it lasts, whoever ends the process (a rented machine that is taken back, a container that is stopped) stops
    the job as Ctrl-C does, so that its state is saved and its result packed."""
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _pack(work: Any, out: Path, console: Console) -> dict[str, Any]:
    from ...jobs.result import pack_result

    done = pack_result(work, out, _device_name())
    console.say(f"\nresult {done.file}: {done.bytes / 2**20:.1f} MB"
                + (f"; missing: {done.missing}. lora-bootstrap run {done.file.name} goes on with it." if done.missing
                   else ", finished. At the desk: lora-bootstrap import-result, or Import Result."))
    if done.left_out:
        console.say(f"left out, as a result has no place for them: {', '.join(done.left_out)}")
    return {"result": done.file, "finished": done.finished, "missing": done.missing, "bytes": done.bytes,
            "left_out": done.left_out}


def _device_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def add_import_result_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("result", type=Path, metavar="FILE", help="zip of a result, or a .safetensors LoRA")
    command.add_argument("--name", default="", help="name of the run or the LoRA here; default: its own, with a number "
                         "if that is taken")
    add_output_option(command, "run and sweep")


def handle_import_result(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ...jobs.import_result import import_result

    done = import_result(options.output, options.result, options.name)
    console.say(done.text())
    return {"lora": done.lora, "run": done.run, "sweep": done.sweep, "notes": done.notes}
