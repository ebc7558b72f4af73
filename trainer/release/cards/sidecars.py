"""The files beside a LoRA that managers and web UIs read.

`<name>.civitai.info` is a version as Civitai's API gives it, read by Lora-Manager and Civitai Helper; `<name>.json` is
A1111's, also read by Forge. Facts from the code of ComfyUI-Lora-Manager and stable-diffusion-webui.
"""

from __future__ import annotations

import html
from typing import Any

from ...common.files import file_hash
from ...statements.plain_text import one_line, printable
from ..bases import CIVITAI_TYPES, a1111_base
from ..facts import Facts
from ..limits import describe_limits
from ..previews import Preview

KB = 1024
LARGEST_WEIGHT = 2.0
"""Of A1111's slider of the preferred weight."""


def civitai_info(facts: Facts) -> dict[str, Any]:
    """The version object. Its ids are null: the site gives them when the file is uploaded."""
    real = facts.settings.rights.shows_real_person(facts.kind)
    return {
        "id": None, "modelId": None, "name": facts.settings.version, "baseModel": facts.civitai_base,
        "trainedWords": [facts.trigger] if facts.trigger else [],
        "description": _as_html(facts.settings.changes),
        "model": {"name": facts.title, "type": CIVITAI_TYPES.get(facts.source.adapter, "LORA"), "tags": facts.tags,
                  "description": _as_html(_describe(facts)), **({"poi": True} if real else {})},
        **({"creator": {"username": one_line(facts.settings.author)}} if facts.settings.author else {}),
        "files": [{"id": None, "name": facts.file, "type": "Model", "primary": True, "sizeKB": facts.size / KB,
                   "metadata": {"format": "SafeTensor"}, "hashes": dict(facts.hashes)}],
        "images": [_image(preview) for preview in facts.previews]}


def _image(preview: Preview) -> dict[str, Any]:
    meta = {"prompt": preview.prompt, "negativePrompt": preview.negative, "seed": preview.seed}
    return {"url": preview.place, "type": "image", "width": preview.width, "height": preview.height,
            "meta": {name: value for name, value in meta.items() if value not in (None, "")}}


def a1111_info(facts: Facts) -> dict[str, Any]:
    """The user's metadata of a LoRA. A preferred weight of 0 means that there is none; the slider has 0 to 2."""
    at = facts.measured.strength
    return {
        "description": _describe(facts), "sd version": a1111_base(facts.source.family),
        "activation text": facts.trigger,
        "preferred weight": at if at is not None and 0 < at <= LARGEST_WEIGHT else 0.0,
        "negative text": facts.negative,
        "notes": "\n".join([*facts.warnings, *describe_limits(facts.source, facts.measured)])}


def _describe(facts: Facts) -> str:
    return "\n".join(filter(None, (printable(facts.settings.description), facts.what, facts.usage_hint)))


def _as_html(text: str) -> str:
    return "".join(f"<p>{html.escape(line)}</p>" for line in printable(text).splitlines() if line.strip())


def hash_table(facts: Facts, files: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What hashes.json holds: name → hashes; of the LoRA all that sites use, of other files sha256.

    Args:
        files: name in the release → path.
    """
    return {name: dict(facts.hashes) if name == facts.file else {"SHA256": file_hash(path).upper()}
            for name, path in files.items()}
