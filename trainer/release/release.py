"""Writes a release: a folder with the LoRA and all that belongs to it, and a zip of that folder.

    <root>/<name>/<name>.safetensors   the LoRA, with metadata for others
                 /<name>.png           its first preview; previews/1.png ... are all of them
                 /<name>.civitai.info  /<name>.json   for managers and web UIs
                 /README.md            the model card; civitai.md is a description for that site
                 /rights.json          who consented to what, and who holds the rights
                 /history.json         the versions so far
                 /feedback.txt         a form for those who test it
                 /hashes.json          hashes of all these files
          <name>-v<version>.zip        the same, as one file

The same run, sweep and settings give the same bytes again. Nothing is uploaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..captions.kinds import KINDS
from ..common.counts import count_noun
from ..common.files import write_json, write_text
from ..common.folders import fill_folder
from ..common.names import name_from
from ..lora.hashes import tensor_hash
from ..lora.metadata import read_count
from ..pictures.images import open_image
from ..pictures.thumbnails import data_uri
from ..statements.feedback_form import NAME as FORM, write_form
from ..statements.plain_text import one_line, printable
from .cards.civitai_text import write_civitai
from .cards.model_card import write_card
from .cards.panel import describe_card
from .cards.sidecars import a1111_info, civitai_info, hash_table
from .facts import Facts, Subject
from .file_hashes import site_hashes
from .history import Entry, read_history, write_history
from .limits import describe_limits
from .measured import Measured, hide_captions, open_sweep, read_measured, recommended_files
from .origin import find_project
from .packed import write_zip
from .previews import Preview, choose_cells, save_png, write_previews
from .released_file import released_metadata, write_released
from .run_previews import write_run_previews
from .settings import ReleaseSettings
from .source import Source, open_source
from .stated import complete_settings

THUMBNAIL = 256
"""Side of the preview in the LoRA's metadata, in pixels."""
MADE = "made.json"
"""The record of who filled the folder; it does not belong to the release."""


@dataclass(frozen=True)
class Released:
    """A written release.

    Attributes:
        files: their names in the folder.
        warnings: what is open about consent and rights.
        lines: the whole result in words.
        card: what a panel shows of it, as `describe_card` makes it.
        project: the folder of the bootstrap project that the run belongs to; None if there is none.
    """

    folder: Path
    zip: Path
    lora: Path
    files: tuple[str, ...]
    warnings: tuple[str, ...]
    lines: tuple[str, ...]
    card: Mapping[str, Any]
    project: Path | None = None

    def text(self) -> str:
        return "\n".join(self.lines)


def release_lora(path: Path, root: Path, settings: ReleaseSettings, *, sweep: Path | None = None,
                 strengths_file: Path | None = None, projects: Path | None = None) -> Released:
    """Release a run's LoRA or a LoRA file, in place of an earlier version of that name.

    Args:
        path: a run's folder, or a .safetensors LoRA.
        root: the folder of all releases.
        sweep: the folder of a sweep that was drawn with it, for previews, strength and limits.
        strengths_file: the pack's lora_strengths.json.
        projects: the folder of bootstrap projects; what the run's project states about consent and rights counts where
            the settings leave that open.

    Raises UserError if there is no LoRA or sweep, or if the release cannot be written.
    """
    plan = open_sweep(sweep)
    source = open_source(path, settings.step, recommended_files(plan))
    project = find_project(source.run, projects)
    stated = complete_settings(settings, project)
    settings = stated.settings
    measured = read_measured(plan, source.file, settings.strength, strengths_file)
    name = settings.name or name_from(source.name, "lora")
    folder = root / name
    history, damaged = read_history(folder)
    entry = _entry(source, measured, settings)
    history, renamed = history.with_entry(entry)
    key = f"{entry.weights} {settings.version}"
    with fill_folder(folder, key) as new:
        previews, notes = _write_images(new, source, measured, settings, name)
        measured = measured.without_prompts(_secret(source, settings))
        lora = new / f"{name}.safetensors"
        metadata = _metadata(Subject(name, settings, source, measured), lora.with_name(f"{name}.png"))
        write_released(source.file, lora, metadata)
        warnings = (*settings.rights.warnings(source.kind, settings.licence), *stated.warnings)
        facts = Facts(name, settings, source, measured, tuple(previews), metadata, site_hashes(lora),
                      lora.stat().st_size, history, warnings)
        _write_texts(new, facts)
        files = tuple(sorted(found.relative_to(new).as_posix() for found in new.rglob("*") if found.is_file()))
        write_json(new / "hashes.json", hash_table(facts, {found: new / found for found in files}))
    files = tuple(sorted((*files, "hashes.json")))
    packed = root / f"{name}-v{settings.version}.zip"
    write_zip(packed, folder, files, name)
    notes = [source.note, *stated.notes, *measured.notes, damaged, renamed, *notes]
    notes = list(filter(None, notes))
    return Released(folder, packed, folder / lora.name, files, warnings, tuple(_report(facts, folder, packed, notes)),
                    describe_card(facts, folder, notes), None if project is None else project.folder)


def _entry(source: Source, measured: Measured, settings: ReleaseSettings) -> Entry:
    images = source.images
    return Entry(version=settings.version, weights=tensor_hash(source.file), changes=printable(settings.changes),
                 strength=measured.strength, steps=source.step,
                 images=len(images) if images is not None else read_count(source.metadata, "ss_num_train_images"),
                 trigger=settings.trigger or source.trigger, licence=one_line(settings.licence))


def _write_images(folder: Path, source: Source, measured: Measured, settings: ReleaseSettings,
                  name: str) -> tuple[list[Preview], list[str]]:
    """Write the previews, and the first of them as `<name>.png`."""
    digest = site_hashes(source.file)["AutoV3"]  # of the tensors, so the released file has it too
    secret = _secret(source, settings)
    if measured.sweep is None or not measured.cells:
        previews, notes = write_run_previews(folder, source, name, digest, settings.previews, secret)
    else:
        cells = hide_captions(chosen := choose_cells(measured, settings.previews), secret)
        previews, notes = write_previews(folder, cells, measured.sweep, name, digest, settings.workflow)
        if hidden := sum(cell is not kept for cell, kept in zip(chosen, cells, strict=True)):
            notes.append(f"{count_noun(hidden, 'preview')} drawn from captions of the training: these prompts and "
                         "workflows are left out. Draw a sweep from prompts of your own, or keep captions.")
    if previews:
        first = open_image(folder / previews[0].place)
        save_png(folder / f"{name}.png", first, {"parameters": previews[0].parameters})
    return previews, notes


def _secret(source: Source, settings: ReleaseSettings) -> frozenset[str]:
    """The captions that nothing in the release may tell."""
    return frozenset() if settings.captions else source.captions


def _metadata(subject: Subject, preview: Path) -> dict[str, str]:
    settings, at = subject.settings, subject.measured.strength
    author = {
        "title": one_line(subject.title), "author": one_line(settings.author), "license": one_line(settings.licence),
        "description": printable(settings.description), "trigger_phrase": subject.trigger,
        "usage_hint": subject.usage_hint, "tags": ", ".join(map(one_line, subject.tags)),
        "thumbnail": data_uri(preview, THUMBNAIL) if preview.is_file() else ""}
    kept = released_metadata(subject.source.metadata, name=subject.name, author=author, strip=settings.strip,
                             captions=settings.captions)
    strength = {} if at is None else {"lora_bootstrap.strength": f"{at:g}"}
    return {**kept, "lora_bootstrap.version": settings.version, **strength}


def _write_texts(folder: Path, facts: Facts) -> None:
    write_json(folder / f"{facts.name}.civitai.info", civitai_info(facts))
    write_json(folder / f"{facts.name}.json", a1111_info(facts))
    write_json(folder / "rights.json", facts.settings.rights.to_dict(facts.settings.licence, facts.warnings))
    write_history(folder, facts.history)
    write_text(folder / "README.md", write_card(facts))
    write_text(folder / "civitai.md", write_civitai(facts))
    write_text(folder / FORM, write_form(facts.name, facts.title, facts.settings.version, facts.hashes["AutoV3"],
                                         views=facts.kind in KINDS and KINDS[facts.kind].person))


def _report(facts: Facts, folder: Path, packed: Path, notes: list[str]) -> list[str]:
    upload = f'hf upload "YOUR_NAME/{facts.name}" "{folder}" . --exclude {MADE}'
    return [
        *(f"⚠ {line}" for line in facts.warnings),
        f"Released {facts.title}, version {facts.settings.version}: {facts.file} with "
        f"{len(facts.previews)} previews.",
        f"Strength: {facts.strength_line}",
        *notes,
        *(f"Limit: {line}" for line in describe_limits(facts.source, facts.measured)),
        f"AutoV2 {facts.hashes['AutoV2']}, AutoV3 {facts.hashes['AutoV3']}",
        f"Folder: {folder}", f"Zip: {packed}",
        f"To upload it to Hugging Face: {upload}",
        "To upload it to Civitai: add the .safetensors and the previews by hand, and paste civitai.md."]
