"""What the list in LoRA Stack shows of its text: what each line names, what the files contain, and the guides'
advice."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ....trainer.common.errors import UserError
from ....trainer.stacks.blocks import PRESETS, Blocks, choose_blocks, read_blocks
from ....trainer.stacks.prompt import WantedLora, check_once, find_lora, near_loras, read_line
from ....trainer.stacks.stack import START, StackEntry, stack_advice
from ... import paths
from ...stacks import StackFacts, lora_names

LONGEST, MOST_LINES = 20_000, 100
"""Maximum numbers of characters and lines of a text that is read."""
NEAR = 3
_OFF = re.compile(r"#+\s*|off\s+", re.IGNORECASE)


@dataclass(frozen=True)
class LoraView:
    """What a file records about itself.

    Attributes:
        blocks: None if they cannot be read; `why` is the reason.
        presets: name → title of the block presets that it has.
        error: why it cannot be loaded at all.
    """

    role: str = ""
    triggers: tuple[str, ...] = ()
    blocks: Blocks | None = None
    presets: tuple[tuple[str, str], ...] = ()
    why: str = ""
    error: str = ""

    @property
    def told(self) -> dict[str, Any]:
        return {"role": self.role, "triggers": self.triggers, "presets": dict(self.presets),
                "blocks": list(self.blocks.keys) if self.blocks else []}


def stack_view(text: str) -> dict[str, Any]:
    """The answer of POST /lora_bootstrap/stack. Raises UserError for a text that is too long to be a stack."""
    if len(text) > LONGEST or len(text.splitlines()) > MOST_LINES:
        raise UserError(f"the text is too long for a list: it has {len(text)} characters in {len(text.splitlines())} "
                        f"lines, and at most {LONGEST} characters in {MOST_LINES} lines are read. Remove some lines.")
    stack = _Stack(lora_names())
    lines = [stack.line(line) for line in text.splitlines()]
    entries = [StackEntry(path=paths.lora_file(entry.name), strength=entry.strength, clip_strength=entry.clip_strength,
                          role=stack.files[entry.name].role) for entry in stack.used]
    return {"lines": lines, "files": {name: view.told for name, view in stack.files.items()},
            "total": round(sum(abs(entry.strength) for entry in entries), 4), "start": START,
            "advice": stack_advice(entries)}


class _Stack:
    """Attributes:
        files: the files that lines name, by their listed names.
        used: the entries that are on and whose files exist.
    """

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.files: dict[str, LoraView] = {}
        self.used: list[WantedLora] = []

    def line(self, line: str) -> dict[str, Any]:
        try:
            entries = read_line(line, self._names)
        except UserError as problem:
            return {"off": False, "error": str(problem), "loras": []}
        if line.strip() and not entries:
            found = [self._find(entry.name) for entry in _turned_off(line, self._names)]
            return {"off": True, "error": "", "loras": [lora for lora, _ in found]}
        loras, errors = [], []
        for entry in entries:
            lora, error = self._find(entry.name)
            loras.append(lora)
            errors.append(error or self._use(dataclasses.replace(entry, name=lora["name"])))
        return {"off": False, "error": next(filter(None, errors), ""), "loras": loras}

    def _find(self, name: str) -> tuple[dict[str, Any], str]:
        """(what is shown of a named LoRA, what is wrong with the name)."""
        try:
            listed = find_lora(name, self._names)
            self.files[listed] = _lora(listed)
        except UserError as problem:
            return {"name": "", "near": near_loras(name, self._names, NEAR)}, str(problem)
        return {"name": listed, "near": []}, ""

    def _use(self, entry: WantedLora) -> str:
        """What is wrong with an entry whose file exists."""
        view = self.files[entry.name]
        try:
            check_once([*self.used, entry])
            self.used.append(entry)
            if entry.blocks and view.blocks:
                choose_blocks(view.blocks, entry.blocks)
        except UserError as problem:
            return str(problem)
        return view.error or (view.why if entry.blocks else "")


def _turned_off(line: str, names: list[str]) -> tuple[WantedLora, ...]:
    """The LoRAs of a line that is off; () if it is only a comment."""
    try:
        return read_line(_OFF.sub("", line.strip(), count=1), names)
    except UserError:
        return ()


def _lora(name: str) -> LoraView:
    path = paths.lora_file(name)
    status = path.stat()
    return _read_lora(name, path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)  # a header may have thousands of keys, and a text is sent at every change
def _read_lora(name: str, path: Path, size: int, changed: int) -> LoraView:
    try:
        facts = StackFacts([(name, 1.0, 1.0)])
    except UserError as problem:
        return LoraView(error=str(problem))
    role, triggers = facts.entries[0].role, facts.triggers
    try:
        blocks = read_blocks(path)
    except UserError as problem:
        return LoraView(role, triggers, why=str(problem))
    presets = tuple((preset, row.title) for preset, row in PRESETS.items() if _has(blocks, preset))
    return LoraView(role, triggers, blocks, presets)


def _has(blocks: Blocks, preset: str) -> bool:
    try:
        return bool(choose_blocks(blocks, preset))
    except UserError:
        return False
