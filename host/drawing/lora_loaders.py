"""The host's own LoRA loaders in front of a sweep: which LoRA they put into the linked model, and what comes in above
them.

A sweep that is given no LoRA takes the nearest loader's, and draws on what is linked to that loader. The nodes in
between are kept: those of `BETWEEN` change nothing that a LoRA changes, so they give the same before and after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from ...trainer.common.errors import UserError
from .base_file import FAR
from .recipe import Link, Node, is_link
from .runner import display_name

MODEL_AND_CLIP, MODEL_ONLY, WITHOUT_FILE = "LoraLoader", "LoraLoaderModelOnly", "LoraModelLoader"
LOADERS = (MODEL_AND_CLIP, MODEL_ONLY, WITHOUT_FILE)
CLIP_SLOT = 1
"""Slot of the text encoder among the outputs of MODEL_AND_CLIP."""
BETWEEN = {"model": ("ModelSamplingDiscrete", "ModelSamplingContinuousEDM", "ModelSamplingContinuousV",
                     "ModelSamplingStableCascade", "ModelSamplingSD3", "ModelSamplingAuraFlow", "ModelSamplingFlux",
                     "RescaleCFG"),
           "clip": ("CLIPSetLastLayer",)}
"""Nodes of the host that set how a model is sampled or where a text encoder ends, by the input that passes through."""

Find = Callable[[str], Node]


@dataclass(frozen=True)
class LoraLoader:
    """The nearest loader above a sweep.

    Attributes:
        node: its id.
        lora: the name of its LoRA, or the link over which the name comes.
        title: the name of its kind on the host's menu.
        model, clip: ids of the nodes between it and the sweep, the sweep's side first. `clip` is None if the sweep's
            text encoder does not come from it: then its LoRA is on the model only.
    """

    node: str
    lora: Any
    title: str
    model: tuple[str, ...]
    clip: tuple[str, ...] | None

    def add_links(self, builder: Any, find: Find, links: Mapping[str, Any]) -> dict[str, Any]:
        """Add copies of the nodes in between to a graph, without the loader before them, and return the links to
        replace: where the model and the text encoder come from without this LoRA."""
        above = find(self.node)["inputs"]
        return {name: self._copy(builder, find, name, ids, above[name])
                for name, ids in (("model", self.model), ("clip", self.clip)) if ids is not None and name in links}

    def _copy(self, builder: Any, find: Find, name: str, ids: Sequence[str], link: Any) -> Any:
        for id in reversed(ids):
            node = find(id)
            copy = builder.node(node["class_type"], f"{name}_{id}", **{**node["inputs"], name: link})
            copy.set_override_display_id(id)
            link = copy.out(0)
        return link


def nearest_loader(find: Find, links: Mapping[str, Any]) -> LoraLoader | None:
    """The loader that a sweep's model comes from, through nodes of BETWEEN at most; None if there is none at all.

    Raises UserError if its LoRA cannot be swept by itself; the message says what can be done instead.
    """
    ids, end = _way_up(find, links["model"], "model")
    kind = find(end)["class_type"]
    if kind not in LOADERS:
        far = next(_loaders_above(find, links["model"], "model"), None)
        if far is None:
            return None
        raise _not_swept(far, f"{display_name(kind)} comes after it")
    if kind == WITHOUT_FILE:
        raise UserError(f"there is no LoRA to sweep: the LoRA of {display_name(kind)} has no file. Save it with Save "
                        f"LoRA Weights, write its name into files, and link model from before {display_name(kind)}; or "
                        "link a run or a LORA_STACK.")
    loader, clip = find(end), None
    if any(is_link(link) and link[0] == end for link in _reaching(find, links["clip"], "clip")):
        clip, last = _way_up(find, links["clip"], "clip")
        if last != end:
            raise _not_swept(loader, f"{display_name(find(last)['class_type'])} comes after it")
    return LoraLoader(end, loader["inputs"]["lora_name"], display_name(kind), ids, clip)


def _not_swept(loader: Node, why: str) -> UserError:
    title, name = display_name(loader["class_type"]), loader["inputs"].get("lora_name")
    lora, into = (f"{short_name(name)!r}", name) if isinstance(name, str) else ("the LoRA", "its name")
    return UserError(f"there is no LoRA to sweep: {lora} from {title} cannot be taken out of the linked model, because "
                     f"{why}. Write {into} into files, and link model and clip from before {title}.")


def _way_up(find: Find, link: Link, name: str) -> tuple[tuple[str, ...], str]:
    """(ids of the nodes of BETWEEN that a link comes through, id of the first other node)."""
    ids: list[str] = []
    while len(ids) < FAR:
        node = find(link[0])
        if node["class_type"] not in BETWEEN[name] or not is_link(node["inputs"].get(name)):
            break
        ids.append(link[0])
        link = node["inputs"][name]
    return tuple(ids), link[0]


def _reaching(find: Find, start: Link, name: str) -> Iterator[Link]:
    """The links that a model or a text encoder (`name`) comes through, nearest first, from this one on."""
    waiting, seen = [start], set[str]()
    while waiting:
        link = waiting.pop(0)
        yield link
        if link[0] not in seen:
            seen.add(link[0])
            waiting += [value for input, value in find(link[0])["inputs"].items()
                        if is_link(value) and name in input.lower()]


def _loaders_above(find: Find, start: Link, name: str) -> Iterator[Node]:
    """The nodes of LOADERS among these, nearest first."""
    ids = dict.fromkeys(link[0] for link in _reaching(find, start, name))
    yield from (node for id in ids if (node := find(id))["class_type"] in LOADERS)


def describe_loaders(find: Find, link: Link) -> list[str]:
    """The LoRAs that loaders above put into a MODEL, nearest first: `style at 0.8`."""
    described = []
    for node in _loaders_above(find, link, "model"):
        strength, name = node["inputs"].get("strength_model", 1.0), node["inputs"].get("lora_name")
        if strength != 0:
            shown = short_name(name) if isinstance(name, str) else "a LoRA"
            described.append(shown if is_link(strength) else f"{shown} at {strength:g}")
    return described


# -- a LoRA that is there twice ----------------------------------------------------------------------------------------


def twice_notes(find: Find, links: Mapping[str, Any], files: Iterable[Path]) -> list[str]:
    """A line for each loader above a sweep whose LoRA the sweep applies too.

    Args:
        files: the LoRAs that the sweep applies.
    """
    applied = {file.resolve() for file in files}
    notes = []
    for node in (node for name in BETWEEN for node in _loaders_above(find, links[name], name)):
        name, title = node["inputs"].get("lora_name"), display_name(node["class_type"])
        if _is_applied(node) and isinstance(name, str) and _file_of(name) in applied:
            notes.append(f"{short_name(name)} is applied twice: by {title} and by this node. Link model and clip from "
                         f"before {title}.")
    return list(dict.fromkeys(notes))


def _is_applied(loader: Node) -> bool:
    return any(loader["inputs"].get(name, 0) != 0 for name in ("strength_model", "strength_clip"))


def _file_of(name: str) -> Path | None:
    found = folder_paths.get_full_path("loras", name)
    return Path(found).resolve() if found else None


def short_name(name: str) -> str:
    """A LoRA's name as a line about it says it."""
    return name.removesuffix(".safetensors")
