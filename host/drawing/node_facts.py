"""What this host knows about a node of a workflow beside its inputs, and about the value of a link: for keys that say
"the same image"."""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import folder_paths

from ...trainer.common.errors import UserError
from ...trainer.common.files import file_hash
from ...trainer.lora.hashes import tensor_hash
from ...trainer.stacks.prompt import find_lora
from ...trainer.training.runs import Run, read_run
from .. import paths
from ..backbone.contents import content_of
from .recipe import OURS, Link, Node, is_link, recipe_of, short_hash
from .runner import node_class

WHOLE_FILE = 2 * 2**30
"""Files up to this size, in bytes, count by all of their content. Of a larger one, reading all of it would take longer
than drawing with it: it counts by its size, its time of change, and BLOCKS blocks spread over it, so that a file that
was replaced, edited or touched is another."""
BLOCKS, BLOCK = 256, 1 << 16
FOLDERS = ("loras", "checkpoints", "embeddings")
LONGEST_NAME = 1024
IN_TEXT = re.compile(r"embedding:([^\s,():]+)|<lora:([^:<>]+)[:>]")
"""Files that a prompt names."""
READ_FROM_TEXT = (f"{OURS}PromptLoras",)
"""Our nodes that give a state only if their text is not linked, and whose files are found in the text."""
_ANNOTATED = re.compile(r"(.+?)(?: \[(input|output|temp)\])?", re.DOTALL)


class HostFacts:
    """`recipe.NodeFacts` of the running host."""

    def state(self, id: str, node: Node) -> tuple[Any, bool]:
        """What the host's IS_CHANGED or fingerprint says of a node; NaN means that it may give something else."""
        kind = node["class_type"]
        try:
            told = node["is_changed"] if "is_changed" in node else _ask(kind, node["inputs"])
        except Exception:  # as the host, for which a node that fails here has changed
            told = math.nan
        plain, sure = _as_plain(told)
        return (plain, True) if sure else (None, kind in READ_FROM_TEXT)

    def lazy(self, kind: str, name: str) -> bool:
        try:
            described: Any = node_class(kind)
            groups = described.INPUT_TYPES().values()
            return any(bool(group[name][1].get("lazy")) for group in groups if len(group.get(name, ())) > 1)
        except Exception:  # a class that is gone, or describes its inputs in a way of its own
            return False

    def files(self, value: Any) -> Iterator[str]:
        for path in named_files(value):
            yield file_content(path)


FACTS = HostFacts()


def link_key(find: Callable[[str], Node], link: Link, value: Any) -> str:
    """16 hexadecimal digits of a link's value: other digits wherever an image might differ.

    The value's own content decides. Of a model only samples of the weights are read, so what made it counts too; and
    where something cannot be looked into, everything above it counts, and is taken as new if a node there does not say
    whether it gives the same.
    """
    content = content_of(value)
    parts: list[Any] = [content.digest, list(FACTS.files(value))]
    if content.sampled or content.opaque:
        made = recipe_of(find, link, FACTS, whole=bool(content.opaque))
        parts.append(made.digest)
        if content.opaque and made.unsure:
            parts.append(secrets.token_hex(8))
    return short_hash(parts)


def file_facts(texts: Iterable[str]) -> list[str]:
    """The contents of the files that texts name, such as the embeddings in prompts."""
    return sorted({content for text in texts for content in FACTS.files(text)})


# -- files -----------------------------------------------------------------------------------------------------------


def named_files(value: Any) -> list[Path]:
    """The files that a value of a widget or a socket names: names in the host's lists of models, in input/ and output/,
    paths, embeddings and LoRAs in a prompt, and the checkpoints of a run."""
    found: dict[Path, None] = {}
    for part in _texts_and_runs(value):
        found |= dict.fromkeys(_run_files(part) if isinstance(part, Run) else
                               (*_files_called(part), *_files_in_text(part)))
    return list(found)


def file_content(path: Path) -> str:
    """A hash of a file's content: of the weights of a LoRA, of all bytes of another, and see WHOLE_FILE."""
    status = path.stat()
    if status.st_size > WHOLE_FILE:
        return _sampled_content(os.fspath(path), status.st_size, status.st_mtime_ns)
    of_loras = any(paths.inside(Path(root), path) for root in folder_paths.get_folder_paths("loras"))
    return tensor_hash(path) if of_loras else file_hash(path)


@lru_cache(maxsize=1024)
def _sampled_content(path: str, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256(f"{size} {mtime_ns}".encode())
    with open(path, "rb") as file:
        for number in range(BLOCKS):
            file.seek(number * (size - BLOCK) // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _texts_and_runs(value: Any) -> Iterator[Any]:
    if isinstance(value, (str, Run)):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_and_runs(item)


def _run_files(run: Run) -> list[Path]:
    try:
        found = read_run(run.folder)
        return [path for _, path in (*found.checkpoints(), *found.averages())]
    except UserError:
        return []


def _files_called(text: str) -> list[Path]:
    if not text.strip() or len(text) > LONGEST_NAME or "\0" in text or "\n" in text:
        return []
    kinds = dict.fromkeys((*folder_paths.folder_names_and_paths, *FOLDERS))
    files = [path for kind in kinds if (path := _full_path(kind, text))]
    name, folder = _ANNOTATED.fullmatch(text).groups()  # type: ignore[union-attr]  # matches any text
    roots = {"input": folder_paths.get_input_directory, "output": folder_paths.get_output_directory,
             "temp": folder_paths.get_temp_directory}
    for place in (folder,) if folder else ("input", "output"):
        path = Path(roots[place](), name)  # an absolute name is itself
        if _is_file(path):
            files.append(path)
    return files


def _full_path(kind: str, name: str) -> Path | None:
    try:
        found = folder_paths.get_full_path(kind, name)
    except (OSError, ValueError, TypeError):
        return None
    return Path(found) if found else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _files_in_text(text: str) -> list[Path]:
    files: list[Path] = []
    for embedding, lora in IN_TEXT.findall(text):
        if embedding:
            names = (f"{embedding}{ending}" for ending in ("", ".safetensors", ".pt", ".bin"))
            files += [path for name in names if (path := _full_path("embeddings", name))][:1]
        else:
            files += _lora_called(lora.strip())
    return files


def _lora_called(name: str) -> list[Path]:
    try:
        path = _full_path("loras", find_lora(name, folder_paths.get_filename_list("loras")))
    except UserError:
        return []
    return [path] if path else []


# -- what a node says about itself -----------------------------------------------------------------------------------


def _ask(kind: str, inputs: Mapping[str, Any]) -> Any:
    """What a node of either API says has changed, asked as the host does it, with None for linked inputs; None if it
    says nothing. The host keeps the answer unless it runs without a cache."""
    node = node_class(kind)
    ask = getattr(node, "fingerprint_inputs", None) or getattr(node, "IS_CHANGED", None)
    if ask is None or getattr(ask, "__module__", "").startswith("comfy_api"):  # the placeholder of the host's own
        return None
    told = ask(**{name: None if is_link(value) else value for name, value in inputs.items()})
    return math.nan if inspect.isawaitable(told) else told


def _as_plain(told: Any) -> tuple[Any, bool]:
    """(a value as JSON, whether it is equal to itself and tells all)."""
    if isinstance(told, float):
        return told, not math.isnan(told)
    if told is None or isinstance(told, (str, int, bool)):
        return told, True
    if isinstance(told, Mapping):
        told = [[key, value] for key, value in told.items()]
    if isinstance(told, Sequence) and not isinstance(told, (bytes, bytearray)):
        parts = [_as_plain(value) for value in told]
        return [value for value, _ in parts], all(sure for _, sure in parts)
    content = content_of(told)
    return content.digest, not content.opaque
