"""Reads another trainer's configuration and finds out whose it is. Files are untrusted: their size, depth and number of
settings are bounded, and nothing in them is executed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from . import ai_toolkit, kohya, onetrainer
from .mapping import Imported, translate

MOST_BYTES, MOST_VALUES, MOST_DEPTH, MOST_SETTINGS = 2**20, 100_000, 20, 5000
_TRAINED = "STANDARD"
"""Type of OneTrainer's concepts that are trained as they are."""
_KNOWN = ("a TOML or a command line of kohya sd-scripts, a JSON of OneTrainer, or a YAML of ai-toolkit")


def import_config(path: Path, dataset_config: Path | None = None) -> Imported:
    """The settings of a file as ours, with those of a kohya --dataset_config if one is given.

    Raises UserError for a file that cannot be read, or is not a configuration of a tool that we know.
    """
    text = _read_text(path)
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        if dataset_config:
            raise UserError(f"--dataset-config is {dataset_config}, but {path.name} is not of kohya sd-scripts, which "
                            "alone has such a file. Leave it out.")
        return _import_tree(path, _parse_tree(path, text))
    options = _parse_toml(path, text) if path.suffix.lower() == ".toml" else _parse_command(path, text)
    if dataset_config is None and isinstance(options.get("datasets"), list):
        given, notes = kohya.flatten_dataset(options)  # the dataset's file alone
        return translate(kohya.DATASET_TABLE, _bounded(path, given), notes)
    given = kohya.flatten_options(options)
    notes = {}
    if dataset_config:
        own, notes = kohya.flatten_dataset(_parse_toml(dataset_config, _read_text(dataset_config)))
        given |= own
    elif isinstance(given.get("train_data_dir"), str):
        given["image_dir"] = [given["train_data_dir"]]
    if not any(row.theirs in given for row in kohya.TABLE.rows):
        raise UserError(f"{path.name} holds no setting of kohya sd-scripts. Give {_KNOWN}.")
    return translate(kohya.TABLE, _bounded(path, given), notes)


def read_settings(path: Path) -> dict[str, Any]:
    """Our own settings by dotted name, from a JSON or TOML file; groups may be nested. Raises UserError."""
    text = _read_text(path)
    tree = _parse_toml(path, text) if path.suffix.lower() == ".toml" else _parse_json(path, text)
    return _bounded(path, dict(_leaves(tree)))


def _import_tree(path: Path, tree: Mapping[str, Any]) -> Imported:
    config = tree.get("config")
    if isinstance(config, dict) and isinstance(config.get("process"), list):
        return translate(ai_toolkit.TABLE, _bounded(path, _flatten_job(tree)))
    if "LoRA_type" in tree:
        raise UserError(f"{path.name} is a preset of the kohya_ss interface. Give the TOML that it writes beside the "
                        "LoRA for sd-scripts (config_lora-….toml).")
    if "training_method" in tree or "model_type" in tree:
        return translate(onetrainer.TABLE, _bounded(path, _flatten_onetrainer(tree)))
    raise UserError(f"{path.name} is not a configuration that can be imported. Give {_KNOWN}.")


def _flatten_job(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The first process of a job of ai-toolkit, with its first dataset's settings as `datasets.…`, and as
    `datasets.is_reg` the folders of regularisation images."""
    config = tree["config"]
    processes = [process for process in config["process"] if isinstance(process, dict)]
    process = dict(processes[0]) if processes else {}
    every = [each for each in process.pop("datasets", None) or [] if isinstance(each, dict)]
    datasets = [{name: value for name, value in each.items() if name != "is_reg"}
                for each in every if not each.get("is_reg")]
    flat = dict(_leaves(process))
    if config.get("name"):
        flat["name"] = config["name"]
    if len(processes) > 1:
        flat["process"] = f"{len(processes)} processes"
    flat |= {f"datasets.{name}": value for name, value in _leaves(datasets[0] if datasets else {})}
    if regularising := [str(each.get("folder_path", "")) for each in every if each.get("is_reg")]:
        flat["datasets.is_reg"] = regularising
    flat["datasets.folder_path"] = [str(each["folder_path"]) for each in datasets if each.get("folder_path")]
    return flat


def _flatten_onetrainer(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the settings of its first concept that is trained as `concepts.…`. The kinds of others, such as
    VALIDATION, are `concepts.type`."""
    enabled = [each for each in tree.get("concepts") or [] if isinstance(each, dict) and each.get("enabled", True)]
    concepts = [each for each in enabled if str(each.get("type", _TRAINED)).upper() == _TRAINED]
    flat = dict(_leaves({name: value for name, value in tree.items() if name != "concepts"}))
    if concepts:
        flat |= {f"concepts.{name}": value for name, value in _leaves(concepts[0])}
        flat["concepts.path"] = [str(each["path"]) for each in concepts if each.get("path")]
    flat.pop("concepts.type", None)
    if others := sorted({str(each["type"]) for each in enabled if each not in concepts}):
        flat["concepts.type"] = others
    return flat


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name with the names of its groups before it, value) of everything that is not a group."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _bounded(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    if len(given) > MOST_SETTINGS:
        raise UserError(f"{path.name} has {len(given)} settings, and a configuration at most {MOST_SETTINGS}. Give "
                        "another file.")
    return dict(given)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path.name} has {path.stat().st_size} bytes, and a configuration at most {MOST_BYTES}. "
                            "Give another file.")
        return path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}. Give {_KNOWN}.") from error


def _parse_tree(path: Path, text: str) -> Mapping[str, Any]:
    return _parse_json(path, text) if path.suffix.lower() == ".json" else _parse_yaml(path, text)


def _parse_json(path: Path, text: str) -> Mapping[str, Any]:
    try:
        return _group(path, json.loads(text))
    except (ValueError, RecursionError) as error:
        raise _broken(path, "JSON", error) from error


def _parse_yaml(path: Path, text: str) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise UserError(f"{path} is YAML, which needs the library PyYAML. diffusers usually brings it: pip install "
                        "PyYAML.") from error
    try:
        return _group(path, yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _broken(path, "YAML", error) from error


def _parse_toml(path: Path, text: str) -> Mapping[str, Any]:
    name = next((name for name in ("tomllib", "tomli") if importlib.util.find_spec(name)), None)
    if name is None:
        raise UserError(f"{path.name} is TOML, which Python 3.10 cannot read: pip install tomli, or use Python 3.11 or "
                        "later.")
    try:
        return _group(path, importlib.import_module(name).loads(text))
    except (ValueError, RecursionError) as error:
        raise _broken(path, "TOML", error) from error


def _parse_command(path: Path, text: str) -> Mapping[str, Any]:
    """The options of a command line over any number of lines, as shells, Windows and PowerShell continue them."""
    lines = (line.strip().removesuffix("\\").removesuffix("^").removesuffix("`") for line in text.splitlines())
    joined = " ".join(line for line in lines if not line.startswith(("#", "REM ", "::")))
    try:
        words = shlex.split(joined.replace("\\", "\\\\"))  # backslashes are parts of paths
    except ValueError as error:
        raise _broken(path, "a command line", error) from error
    scripts = [place for place, word in enumerate(words) if word.endswith(".py")]
    return dict(_options(words[scripts[-1] + 1 if scripts else 0:]))


def _options(words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    name, values = "", list[Any]()
    for word in (*words, "--"):
        if not word.startswith("--"):
            values.append(_literal(word))
            continue
        if name:
            yield name, True if not values else values[0] if len(values) == 1 else values
        name, equals, text = word[2:].partition("=")
        values = [_literal(text)] if equals else []


def _literal(word: str) -> Any:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _group(path: Path, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path.name} holds no settings. Give {_KNOWN}.")
    _check_extent(path, value)
    return {str(name): each for name, each in value.items()}


def _check_extent(path: Path, tree: Any) -> None:
    """Raises UserError for a tree of too many values: a few lines of YAML can repeat each other without end."""
    left, count = [(tree, 0)], 0
    while left:
        (value, depth), count = left.pop(), count + 1
        if count > MOST_VALUES or depth > MOST_DEPTH:
            raise UserError(f"{path.name} has more than {MOST_VALUES} values, or groups more than {MOST_DEPTH} deep. A "
                            "configuration has fewer. Give another file.")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        left += [(each, depth + 1) for each in inner]


def _broken(path: Path, what: str, error: Exception) -> UserError:
    return UserError(f"{path.name} cannot be read as {what}: {str(error).splitlines()[0][:200]}. Repair it, or give "
                     f"{_KNOWN}.")
