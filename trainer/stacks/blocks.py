"""Some blocks of a LoRA, each at a strength of its own, as a file of its own, which any loader can use.

Blocks are told by the names of the file's own layers, never by their number, so that a LoRA that lacks some cannot
shift the others. Which of SDXL's blocks hold content and style: B-LoRA, arXiv:2403.14572.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from ..common.errors import UserError
from ..common.files import atomic_write, file_hash
from ..lora.file import hashes
from ..lora.layers import KINDS, LoraFile, read_header
from ..lora.layouts import CONTENT, ROLES, STYLE, architecture, block_of, block_order, diffusers_names
from ..lora.names import LayerName, layer_name, module_of
from .stack import MOST_STRENGTH

FORMAT = 1
LONGEST_STEM = 150
"""Bytes of the LoRA's own name in that of the new file; most systems allow 255 in all."""
LINEAGE = "lora_bootstrap.lineage"
_NOT = "not "


@dataclass(frozen=True)
class BlockPreset:
    """Attributes:
        keeps: (block, role by block) → whether it is kept.
        of_roles: whether the roles of blocks must be known.
    """

    title: str
    keeps: Callable[[str, Mapping[str, str]], bool]
    of_roles: bool = False


PRESETS = {
    "all": BlockPreset("every block", lambda block, roles: True),
    "content": BlockPreset("SDXL's content block", lambda block, roles: roles.get(block) == CONTENT, True),
    "style": BlockPreset("SDXL's style block", lambda block, roles: roles.get(block) == STYLE, True),
    "no text": BlockPreset("all but the text encoders", lambda block, roles: not block.startswith("text_encoder")),
}
HOW_BLOCKS = (f"write {', '.join(PRESETS)}, or names of blocks with * for anything and + between them, such as "
              "mid_block* + up_blocks.1.*; not before one takes it out; mid_block* = 0.5 sets its strength")


@dataclass(frozen=True, eq=False)
class Blocks:
    """A LoRA file block by block.

    Attributes:
        keys: of the file, by block; blocks in the network's order, as `layouts.block_of` calls them.
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
        names = [diffusers_names(entry.name, self.file.layers_per_block)[0] for entry in self.file.entries]
        return ROLES.get(architecture(names, [self.file.metadata]), {})


@dataclass(frozen=True)
class Filtered:
    """Attributes:
        path: the file; the LoRA's own if all of it is kept as it is.
        kept: of its `blocks`, with their strengths.
        unknown: how many tensors were left out for they are in no known network.
    """

    path: Path
    kept: Mapping[str, float]
    blocks: tuple[str, ...]
    unknown: int = 0

    @property
    def line(self) -> str:
        """What is kept, in words."""
        changed = [f"{block} at {strength:g}" for block, strength in self.kept.items() if strength != 1]
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return (f"{len(self.kept)} of {len(self.blocks)} blocks"
                + (f", {', '.join(changed[:3])}{more}" if changed else "")
                + (f", without {self.unknown} tensors of unknown networks" if self.unknown else ""))


def read_blocks(path: Path) -> Blocks:
    """The blocks of a LoRA file, by its header alone. Raises UserError as `read_header` does."""
    file = read_header(path)
    keys: dict[str, list[str]] = {}
    own: dict[str, set[str]] = {}
    unknown = []
    for key in sorted(file.tensors.shapes):
        name = layer_name(module_of(key))
        if name is None:
            unknown.append(key)
            continue
        block = block_of(diffusers_names(name, file.layers_per_block)[0])
        keys.setdefault(block, []).append(key)
        own.setdefault(block, set()).add(_own_block(name))
    order = sorted(keys, key=block_order)
    return Blocks(file, {block: tuple(keys[block]) for block in order},
                  {block: frozenset(own[block] - {block}) for block in order}, tuple(unknown))


def _own_block(name: LayerName) -> str:
    return block_of(f"{name.part}.{name.path}")


def choose_blocks(blocks: Blocks, text: str) -> dict[str, float]:
    """The blocks that a text keeps, with their strengths.

    Parts with + between them: presets and patterns of names keep what they fit, all if there is none; after `not` it is
    left out; with `= strength` it is kept at that strength.

    Raises UserError for what fits no block of the file, for roles of what is not SDXL, for a strength that is none or
    is a DoRA's, and if nothing is left.
    """
    parts = [part.strip() for part in text.split("+") if part.strip()]
    plain = [part for part in parts if not part.startswith(_NOT) and "=" not in part]
    kept = {block: 1.0 for part in plain for block in _find_fitting(blocks, part)} if plain else dict.fromkeys(
        blocks.keys, 1.0)
    for part in parts:
        if part.startswith(_NOT):
            kept |= dict.fromkeys(_find_fitting(blocks, part.removeprefix(_NOT).strip()), 0.0)
        elif part not in plain:
            name, _, strength = part.partition("=")
            kept |= dict.fromkeys(_find_fitting(blocks, name.strip()), _strength(part, strength))
    kept = {block: kept[block] for block in blocks.keys if kept.get(block)}
    if not kept:
        raise UserError(f"blocks {text!r} leave nothing of {blocks.file.path.name}. {_there(blocks)}")
    _check_doras(blocks, kept)
    return kept


def _strength(part: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= MOST_STRENGTH:
        raise UserError(f"blocks {part!r} have no strength from {-MOST_STRENGTH:g} to {MOST_STRENGTH:g} behind the =, "
                        "such as mid_block* = 0.5.")
    return value


def _check_doras(blocks: Blocks, kept: Mapping[str, float]) -> None:
    """A DoRA's magnitude is of the whole weight, so half of its change is no half of its effect."""
    doras = {entry.module for entry in blocks.file.entries if entry.magnitude}
    for block, strength in kept.items():
        if strength != 1 and any(module_of(key) in doras for key in blocks.keys[block]):
            raise UserError(f"{block} of {blocks.file.path.name} is a DoRA, which has no strength of its own block by "
                            "block: keep the block or leave it out.")


def _find_fitting(blocks: Blocks, part: str) -> list[str]:
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
    """Some blocks of a LoRA as `folder/<stem>-<hash>.safetensors`, written once; at strength 1 tensors are as they are.

    The hash is of the file and the blocks that are kept. The new file's lineage names both.
    Raises UserError as `read_blocks` and `choose_blocks` do.
    """
    blocks = read_blocks(path)
    kept = choose_blocks(blocks, text)
    whole = set(kept.values()) == {1.0}
    if whole and len(kept) == len(blocks.keys):
        return Filtered(path, kept, tuple(kept))
    source = file_hash(path)
    content = list(kept) if whole else list(kept.items())
    told = hashlib.sha256(json.dumps([FORMAT, source, content]).encode()).hexdigest()
    stem = path.stem.encode()[:LONGEST_STEM].decode(errors="ignore")
    target = folder / f"{stem}-{told[:12]}.safetensors"
    if not target.is_file():
        _write(target, blocks, kept, text, source)
    return Filtered(target, kept, tuple(blocks.keys), len(blocks.unknown))


def _write(target: Path, blocks: Blocks, kept: Mapping[str, float], text: str, source: str) -> None:
    file = blocks.file
    scaled = set(_scaled_keys(file))
    try:
        tensors = {key: _times(file.tensors.read(key), strength if key in scaled else 1.0)
                   for block, strength in kept.items() for key in blocks.keys[block]}
    finally:
        file.tensors.close()
    changed = {block: strength for block, strength in kept.items() if strength != 1}
    lineage = {"filter": {"blocks": list(kept), "of": len(blocks.keys), "text": text.strip(), **(
        {"strengths": changed} if changed else {}), "parents": [
        {"name": file.path.stem, "file": file.path.name, "sha256": source,
         "lineage": file.metadata.get(LINEAGE, "")}]}}
    metadata = {**file.metadata, "ss_output_name": target.stem, "modelspec.title": target.stem,
                LINEAGE: json.dumps(lineage, ensure_ascii=False, sort_keys=True)}
    atomic_write(target, save(tensors, metadata=metadata | hashes(tensors)))


def _scaled_keys(file: LoraFile) -> Iterator[str]:
    """Of each layer the one tensor that, multiplied, multiplies what the file adds to it; biases and norms all."""
    for entry in file.entries:
        yield next(entry.keys[role] for role in KINDS[entry.kind].scaled if role in entry.keys)
    yield from file.vectors


def _times(tensor: Tensor, strength: float) -> Tensor:
    return tensor if strength == 1 else (tensor.float() * strength).to(tensor.dtype)
