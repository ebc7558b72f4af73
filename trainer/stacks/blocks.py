"""Selected blocks of a LoRA, each at its own strength, saved as a separate file that any loader can use.

Blocks are identified by the file's own layer names, never by number, so missing blocks cannot shift the others. Which
of SDXL's blocks hold content and style: B-LoRA, arXiv:2403.14572.
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

from torch import Tensor

from ..common.errors import UserError
from ..common.files import file_hash
from ..common.leftovers import remove_leftovers
from ..lora.hashes import check_weights, write_hashed
from ..lora.layers import KINDS, LoraFile, read_header
from ..lora.layouts import CONTENT, ROLES, STYLE, architecture, block_of, block_order, diffusers_names
from ..lora.names import PEFT_BIAS, LayerName, layer_name, module_of
from ..lora.tensors import Source
from .stack import MOST_STRENGTH

FORMAT = 1
LONGEST_STEM = 150
"""Most bytes of the LoRA's own name in the name of the new file; most systems allow 255 in all."""
LINEAGE = "lora_bootstrap.lineage"
_NOT = "not "


@dataclass(frozen=True)
class BlockPreset:
    """Attributes:
        keeps: (block, role by block) → whether it is kept.
        of_roles: whether it needs to know the roles of the blocks.
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
HOW_BLOCKS = (f"write {', '.join(PRESETS)}, or block names joined by +, where * stands for anything: mid_block* + "
              "up_blocks.1.*. Put not before a name to leave it out, and = 0.5 after it to set its strength")


@dataclass(frozen=True, eq=False)
class Blocks:
    """A LoRA file block by block.

    Attributes:
        keys: block → the file's keys. Blocks are in the network's order, named as by `layouts.block_of`.
        own: the file's own name of each block, where it differs.
        unknown: keys that belong to no layer.
    """

    file: LoraFile
    keys: Mapping[str, tuple[str, ...]]
    own: Mapping[str, frozenset[str]]
    unknown: tuple[str, ...]

    @property
    def roles(self) -> Mapping[str, str]:
        """Block → role; empty for architectures without published roles."""
        names = [diffusers_names(entry.name, self.file.layers_per_block)[0] for entry in self.file.entries]
        return ROLES.get(architecture(names, [self.file.metadata]), {})


@dataclass(frozen=True)
class Filtered:
    """Attributes:
        path: the new file, or the LoRA's own if all of it is kept unchanged.
        kept: the blocks that are kept, with their strengths.
        unknown: how many tensors were left out because they belong to no layer.
    """

    path: Path
    kept: Mapping[str, float]
    blocks: tuple[str, ...]
    unknown: int = 0

    @property
    def line(self) -> str:
        """A summary of what is kept."""
        changed = [f"{block} at {strength:g}" for block, strength in self.kept.items() if strength != 1]
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return (f"{len(self.kept)} of {len(self.blocks)} blocks"
                + (f", {', '.join(changed[:3])}{more}" if changed else "")
                + (f", without {self.unknown} tensors that belong to no layer" if self.unknown else ""))


def read_blocks(path: Path) -> Blocks:
    """The blocks of a LoRA file, read from its header alone. Raises UserError as `read_header` does."""
    file = read_header(path)
    keys: dict[str, list[str]] = {}
    own: dict[str, set[str]] = {}
    unknown = []
    names = {entry.module: entry.name for entry in file.entries} | {
        module_of(vector.key): vector.name for vector in file.vectors}
    for key in sorted(file.tensors.shapes):
        name = names.get(module_of(key)) or layer_name(module_of(key))
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
    """The blocks that a text selects, with their strengths.

    The text is made of parts joined by +. Presets and name patterns keep the blocks that they match (all blocks if
    there are only exclusions); after `not` they are left out; with `= strength` they are kept at that strength.

    Raises UserError for a part that matches no block of the file, for roles outside SDXL, for an invalid strength or a
    strength on a DoRA, and if nothing is left.
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
        raise UserError(f"blocks {text!r} leaves nothing of {blocks.file.path.name}. {_there(blocks)}")
    _check_doras(blocks, kept)
    return kept


def _strength(part: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= MOST_STRENGTH:
        raise UserError(f"blocks {part!r} needs a strength from {-MOST_STRENGTH:g} to {MOST_STRENGTH:g} after the =, "
                        "such as mid_block* = 0.5.")
    return value


def _check_doras(blocks: Blocks, kept: Mapping[str, float]) -> None:
    """Raises UserError for a DoRA block at a strength other than 1. A DoRA's magnitude belongs to the whole weight, so
    half of its change is not half of its effect."""
    doras = {entry.module for entry in blocks.file.entries if entry.magnitude}
    for block, strength in kept.items():
        if strength != 1 and any(module_of(key) in doras for key in blocks.keys[block]):
            raise UserError(f"{block} of {blocks.file.path.name} is a DoRA, whose strength cannot be set block by "
                            "block. Keep the block or leave it out.")


def _find_fitting(blocks: Blocks, part: str) -> list[str]:
    preset, name = PRESETS.get(part), blocks.file.path.name
    if preset:
        roles = blocks.roles
        if preset.of_roles and not roles:
            raise UserError(f"blocks {part!r} is known for SDXL only, and {name} is not for SDXL; write block names. "
                            f"{_there(blocks)}")
        fitting = [block for block in blocks.keys if preset.keeps(block, roles)]
        if not fitting:
            raise UserError(f"blocks {part!r} ({preset.title}): {name} has none of them. {_there(blocks)}")
        return fitting
    fitting = [block for block in blocks.keys
               if any(fnmatchcase(called, part) for called in (block, *blocks.own[block]))]
    if not fitting:
        near = difflib.get_close_matches(part, (*PRESETS, *blocks.keys), n=1)
        raise UserError(f"{name} has no block {part!r}.{f' Did you mean {near[0]!r}?' if near else ''} "
                        f"{_there(blocks)} Or {HOW_BLOCKS}.")
    return fitting


def _there(blocks: Blocks) -> str:
    names = list(blocks.keys)
    return f"It has {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}."


def filter_lora(path: Path, text: str, folder: Path) -> Filtered:
    """Save selected blocks of a LoRA as `folder/<stem>-<hash>.safetensors`, once. At strength 1, tensors are unchanged.

    The hash covers the file and the kept blocks, and the new file's lineage records both. Raises UserError as
    `read_blocks` and `choose_blocks` do.
    """
    blocks = read_blocks(path)
    check_weights(path)
    kept = choose_blocks(blocks, text)
    whole = set(kept.values()) == {1.0}
    if whole and len(kept) == len(blocks.keys):
        return Filtered(path, kept, tuple(kept))
    source = file_hash(path)
    content = list(kept) if whole else list(kept.items())
    told = hashlib.sha256(json.dumps([FORMAT, source, content]).encode()).hexdigest()
    stem = path.stem.encode(errors="ignore")[:LONGEST_STEM].decode(errors="ignore")
    remove_leftovers(folder)
    target = folder / f"{stem}-{told[:12]}.safetensors"
    if target.is_file():
        check_weights(target)
    else:
        _write(target, blocks, kept, text, source)
    return Filtered(target, kept, tuple(blocks.keys), len(blocks.unknown))


def _write(target: Path, blocks: Blocks, kept: Mapping[str, float], text: str, source: str) -> None:
    file = blocks.file
    changed = {block: strength for block, strength in kept.items() if strength != 1}
    lineage = {"filter": {"blocks": list(kept), "of": len(blocks.keys), "text": text.strip(), **(
        {"strengths": changed} if changed else {}), "parents": [
        {"name": file.path.stem, "file": file.path.name, "sha256": source,
         "lineage": file.metadata.get(LINEAGE, "")}]}}
    metadata = {**file.metadata, "ss_output_name": target.stem, "modelspec.title": target.stem,
                LINEAGE: json.dumps(lineage, ensure_ascii=False, sort_keys=True)}
    scaled = set(_scaled_keys(file))
    try:
        sources = {key: _source(file, key, strength if key in scaled else 1.0)
                   for block, strength in kept.items() for key in blocks.keys[block]}
        write_hashed(target, sources, metadata)
    finally:
        file.tensors.close()


def _source(file: LoraFile, key: str, strength: float) -> Source:
    return Source(file.tensors.torch_type(key), file.tensors.shapes[key],
                  lambda: _times(file.tensors.read(key), strength))


def _scaled_keys(file: LoraFile) -> Iterator[str]:
    """For each layer, the tensor whose scale is that of the layer's change; for biases and norms, every tensor."""
    for entry in file.entries:
        yield next(entry.keys[role] for role in KINDS[entry.kind].scaled if role in entry.keys)
    yield from (vector.key for vector in file.vectors)
    yield from file.beside.get(PEFT_BIAS, ())


def _times(tensor: Tensor, strength: float) -> Tensor:
    return tensor if strength == 1 else (tensor.float() * strength).to(tensor.dtype)
