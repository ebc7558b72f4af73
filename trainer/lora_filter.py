"""Some blocks of a LoRA as a file of its own, which any loader can use.

Blocks are told by the names of the file's own layers, never by their number, so that a LoRA that lacks some cannot
shift the others. Which of SDXL's blocks hold content and style: B-LoRA, arXiv:2403.14572.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from safetensors.torch import save

from .errors import UserError
from .files import atomic_write, file_hash
from .layer_names import (
    CONTENT,
    ROLES,
    STYLE,
    LayerName,
    architecture,
    block_of,
    block_order,
    diffusers_names,
    layer_name,
    layers_per_block,
)
from .lora_file import _hashes
from .lora_layers import LoraFile, _role, read_header

FORMAT = 1
LONGEST_STEM = 150
"""Bytes of the LoRA's own name in that of the new file; most systems allow 255 in all."""
LINEAGE = "lora_bootstrap.lineage"
_BESIDE = (".diff_b", ".w_norm", ".b_norm", ".bias")
"""Ends of keys of what no layer's change is, but the host adds: biases and norms."""
_NOT = "not "


@dataclass(frozen=True)
class Preset:
    """Attributes:
        keeps: (block, role by block) → whether it is kept.
        of_roles: whether the roles of blocks must be known.
    """

    title: str
    keeps: Callable[[str, Mapping[str, str]], bool]
    of_roles: bool = False


PRESETS = {
    "all": Preset("every block", lambda block, roles: True),
    "content": Preset("SDXL's content block", lambda block, roles: roles.get(block) == CONTENT, True),
    "style": Preset("SDXL's style block", lambda block, roles: roles.get(block) == STYLE, True),
    "no text": Preset("all but the text encoders", lambda block, roles: not block.startswith("text_encoder")),
}
HOW_BLOCKS = (f"write {', '.join(PRESETS)}, or names of blocks with * for anything and + between them, such as "
              "mid_block* + up_blocks.1.*; not before one takes it out")


@dataclass(frozen=True, eq=False)
class Blocks:
    """A LoRA file block by block.

    Attributes:
        keys: of the file, by block; blocks in the network's order, as `layer_names.block_of` calls them.
        own: what the file itself calls each of them, where that is another name.
        unknown: keys of layers that are in no known network.
    """

    file: LoraFile
    keys: Mapping[str, tuple[str, ...]]
    own: Mapping[str, frozenset[str]]
    unknown: tuple[str, ...]

    @property
    def roles(self) -> Mapping[str, str]:
        """By block, empty for architectures of which nobody has published any."""
        layers = layers_per_block(entry.name.path for entry in self.file.entries)
        names = [diffusers_names(entry.name, layers)[0] for entry in self.file.entries]
        return ROLES.get(architecture(names, [self.file.metadata]), {})


@dataclass(frozen=True)
class Filtered:
    """Attributes:
        path: the file; the LoRA's own if all of it is kept.
        kept: of its `blocks`.
        unknown: how many tensors were left out for they are in no known network.
    """

    path: Path
    kept: tuple[str, ...]
    blocks: tuple[str, ...]
    unknown: int = 0


def read_blocks(path: Path) -> Blocks:
    """The blocks of a LoRA file, by its header alone. Raises UserError as `read_header` does."""
    file = read_header(path)
    layers = layers_per_block(entry.name.path for entry in file.entries)
    keys: dict[str, list[str]] = {}
    own: dict[str, set[str]] = {}
    unknown = []
    for key in sorted(file.tensors.shapes):
        name = layer_name(_module(key))
        if name is None:
            unknown.append(key)
            continue
        block = block_of(diffusers_names(name, layers)[0])
        keys.setdefault(block, []).append(key)
        own.setdefault(block, set()).add(_own_block(name))
    order = sorted(keys, key=block_order)
    return Blocks(file, {block: tuple(keys[block]) for block in order},
                  {block: frozenset(own[block] - {block}) for block in order}, tuple(unknown))


def _module(key: str) -> str:
    role = _role(key)
    return role[0] if role else next((key.removesuffix(end) for end in _BESIDE if key.endswith(end)), key)


def _own_block(name: LayerName) -> str:
    return block_of(f"{name.part}.{name.path}")


def choose_blocks(blocks: Blocks, text: str) -> tuple[str, ...]:
    """The blocks that a text keeps: presets, and patterns of names, with + between them; after `not` all but those.

    Raises UserError for what fits no block of the file, for roles of what is not SDXL, and if nothing is left.
    """
    parts = [part.strip() for part in text.split("+") if part.strip()]
    wanted = [part for part in parts if not part.startswith(_NOT)]
    kept = {block for part in wanted for block in _fitting(blocks, part)} if wanted else set(blocks.keys)
    for part in parts:
        if part.startswith(_NOT):
            kept -= set(_fitting(blocks, part.removeprefix(_NOT).strip()))
    if not kept:
        raise UserError(f"blocks {text!r} leave nothing of {blocks.file.path.name}. {_there(blocks)}")
    return tuple(block for block in blocks.keys if block in kept)


def _fitting(blocks: Blocks, part: str) -> list[str]:
    preset, name = PRESETS.get(part), blocks.file.path.name
    if preset:
        roles = blocks.roles
        if preset.of_roles and not roles:
            raise UserError(f"blocks {part!r} are known of SDXL only, and {name} is none: write names of blocks. "
                            f"{_there(blocks)}")
        fitting = [block for block in blocks.keys if preset.keeps(block, roles)]
        if not fitting:
            raise UserError(f"blocks {part!r} ({preset.title}) are not in {name}. {_there(blocks)}")
        return fitting
    fitting = [block for block in blocks.keys
               if any(fnmatchcase(called, part) for called in (block, *blocks.own[block]))]
    if not fitting:
        near = difflib.get_close_matches(part, (*PRESETS, *blocks.keys), n=1)
        raise UserError(f"{name} has no block {part!r}.{f' Did you mean {near[0]!r}?' if near else ''} "
                        f"{_there(blocks)} Else {HOW_BLOCKS}.")
    return fitting


def _there(blocks: Blocks) -> str:
    names = list(blocks.keys)
    return f"It has {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}."


def filter_lora(path: Path, text: str, folder: Path) -> Filtered:
    """Some blocks of a LoRA as `folder/<stem>-<hash>.safetensors`, its tensors as they are; written once.

    The hash is of the file and the blocks that are kept. The new file's lineage names both.
    Raises UserError as `read_blocks` and `choose_blocks` do.
    """
    blocks = read_blocks(path)
    kept = choose_blocks(blocks, text)
    if len(kept) == len(blocks.keys):
        return Filtered(path, kept, kept)
    source = file_hash(path)
    told = hashlib.sha256(json.dumps([FORMAT, source, kept]).encode()).hexdigest()
    stem = path.stem.encode()[:LONGEST_STEM].decode(errors="ignore")
    target = folder / f"{stem}-{told[:12]}.safetensors"
    if not target.is_file():
        _write(target, blocks, kept, text, source)
    return Filtered(target, kept, tuple(blocks.keys), len(blocks.unknown))


def _write(target: Path, blocks: Blocks, kept: tuple[str, ...], text: str, source: str) -> None:
    file = blocks.file
    try:
        tensors = {key: file.tensors.read(key) for block in kept for key in blocks.keys[block]}
    finally:
        file.tensors.close()
    lineage = {"filter": {"blocks": list(kept), "of": len(blocks.keys), "text": text.strip(), "parents": [
        {"name": file.path.stem, "file": file.path.name, "sha256": source,
         "lineage": file.metadata.get(LINEAGE, "")}]}}
    metadata = {**file.metadata, "ss_output_name": target.stem, "modelspec.title": target.stem,
                LINEAGE: json.dumps(lineage, ensure_ascii=False, sort_keys=True)}
    atomic_write(target, save(tensors, metadata=metadata | _hashes(tensors)))
