"""`lora-bootstrap project export` and `project import`: a project as one zip, as a backup or to move to another
machine. `project feedback` reads the forms that testers of its releases filled in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..statements.feedback_form import read_form_file
from .terminal.console import Console
from .terminal.options import add_output_option


def add_project_options(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    write = actions.add_parser("export", help="write a project's images, decisions and runs into a zip")
    write.add_argument("name", help="name of the project, as in output/bootstrap/NAME")
    write.add_argument("file", type=Path, help="zip to write; an existing one is replaced")
    write.add_argument("--state", action="store_true",
                       help="also the training states of unfinished runs, so that they can be resumed")
    read = actions.add_parser("import", help="read a project from such a zip")
    read.add_argument("file", type=Path, help="zip to read")
    read.add_argument("--name", default="", help="name of the project here; default: its own, with a number if that is "
                      "taken")
    told = actions.add_parser("feedback", help="read the feedback.txt that testers of a release filled in")
    told.add_argument("name", help="name of the project, as in output/bootstrap/NAME")
    told.add_argument("files", type=Path, nargs="+", metavar="FILE", help="filled forms")
    for action in (write, read, told):
        add_output_option(action, "projects and runs")


def check_project(options: argparse.Namespace) -> None:
    if options.action == "import" and not options.file.is_file():
        raise UserError(f"there is no file at {options.file}; give the zip that an export has written.")
    for file in options.files if options.action == "feedback" else ():
        read_form_file(file)
    if options.action != "import" and not (options.output / "bootstrap" / options.name / "project.json").is_file():
        raise UserError(f"there is no project {options.name!r} in {options.output / 'bootstrap'}. Check the name, and "
                        "--output.")


def handle_project(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    return _ACTIONS[options.action](options, console)


def _export(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..records.write_archive import export_project

    done = export_project(options.output, options.name, options.file, options.state)
    console.say(f"{done.file}: {done.files} files, {done.bytes / 2**20:.1f} MB, runs {', '.join(done.runs) or 'none'}")
    if done.left_out:
        console.say("\n".join(("left out:", *(f"  {name}: {reason}" for name, reason in done.left_out.items()))))
    _say_warnings(done.warnings, console)
    return {"file": done.file, "files": done.files, "bytes": done.bytes, "runs": done.runs, "left_out": done.left_out,
            "warnings": done.warnings}


def _import(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..records.read_archive import import_project

    done = import_project(options.output, options.file, options.name)
    because = "" if done.name == done.archived else f" (in the archive: {done.archived})"
    console.say(f"project {done.name}{because}: {done.files} files in {done.folder}, "
                f"runs {', '.join(done.runs) or 'none'}")
    _say_warnings(done.warnings, console)
    return {"name": done.name, "archived": done.archived, "folder": done.folder, "files": done.files,
            "runs": done.runs, "warnings": done.warnings}


def _say_warnings(warnings: tuple[str, ...], console: Console) -> None:
    for line in warnings:
        console.say(f"⚠ {line}")


def _read_feedback(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..bootstrap.project import ProjectRecord
    from ..bootstrap.report import write_report
    from ..statements.feedback import add_feedback, say_saved

    folder = options.output / "bootstrap" / options.name
    answers = [answer for file in options.files for answer in read_form_file(file)]
    new = add_feedback(folder, answers)
    report = write_report(ProjectRecord.load(folder), options.output)
    console.say(f"{say_saved(new, len(answers), folder)}\nreport  {report}")
    return {"new": new, "read": len(answers), "report": report}


_ACTIONS = {"export": _export, "import": _import, "feedback": _read_feedback}
