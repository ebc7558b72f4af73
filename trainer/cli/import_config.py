"""`lora-bootstrap import-config`: the settings of another trainer's configuration, as a file for `train --config`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .terminal.console import Console


def add_import_config_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", type=Path, metavar="FILE",
                         help="TOML or text with the command line of kohya sd-scripts, a JSON of OneTrainer, or a YAML "
                              "of ai-toolkit")
    command.add_argument("--dataset-config", type=Path, metavar="FILE", help="dataset_config of kohya sd-scripts")
    command.add_argument("--save", type=Path, metavar="FILE",
                         help="JSON to write our settings to, for train --config; default: they are only shown")


def handle_import_config(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    from ..common.files import write_json
    from ..imports.mapping import described
    from ..imports.reading import import_config

    imported = import_config(options.path, options.dataset_config)
    console.say(f"{options.path.name}: {imported.tool}")
    for line in described(imported):
        console.say(line)
    settings = dict(imported.settings)
    if options.save:
        write_json(options.save, settings)
        console.say(f"\nsettings  {options.save}")
    else:
        console.say(f"\n{json.dumps(settings, indent=2, ensure_ascii=False)}")
    console.say(f"\n{_command(imported, options.save)}")
    for what, folders in (("images", imported.datasets), ("regularisation images", imported.regularisation)):
        if len(folders) > 1:
            console.say(f"One folder of {what} can be given, and the file names {len(folders)}: put these into one, as "
                        f"folders of their own: {', '.join(folders)}")
    return {"tool": imported.tool, "settings": settings, "base": imported.base, "datasets": list(imported.datasets),
            "regularisation": list(imported.regularisation),
            "lines": [{"theirs": line.theirs, "value": line.value, "ours": line.ours, "kind": line.kind,
                       "note": line.note, "assumed": line.assumed} for line in imported.lines]}


def _command(imported: Any, saved: Path | None) -> str:
    """The training that the file describes, with the folders that it names."""
    given = {"--config": str(saved or "FILE"), "--dataset": next(iter(imported.datasets), "FOLDER"),
             "--regularisation": next(iter(imported.regularisation), ""), "--base": imported.base or "MODEL"}
    verb = "finetune" if imported.settings.get("method") == "full" else "train"
    words = (f'{name} "{value}"' if " " in value else f"{name} {value}" for name, value in given.items() if value)
    return f"lora-bootstrap {verb} {' '.join(words)}"
