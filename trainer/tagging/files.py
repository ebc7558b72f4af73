"""Where taggers are (`models/taggers/<name>/`), which ones are published, and whether a file is what it should be.

Nothing is downloaded unless `download_tagger` is called. Published files are checked against their sha256; for any
other model the sha256 is recorded at its first use, and a file that changes later is refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UserError, unknown_name
from ..common.events import Events, Progress
from ..common.files import file_hash, make_folder, move_file, read_json, remove_file, write_json
from ..common.locks import locked
from ..common.schema import typed

HASHES_FILE = "hashes.json"
MODEL_FILE = "model.onnx"
_WD_LABELS = ("selected_tags.csv", 308_468, "298633d94d0031d2081c0893f29c82eab7f0df00b08483ba8f29d1e979441217")


@dataclass(frozen=True)
class PublishedFile:
    """`remote`: its path in the repository; it is saved under the last part of it."""

    remote: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.remote.rpartition("/")[2]


@dataclass(frozen=True)
class PublishedTagger:
    """A model on the Hugging Face hub, at one revision. The label file comes first, so a folder that has its model has
    everything."""

    name: str
    repository: str
    revision: str
    files: tuple[PublishedFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def _wd(name: str, revision: str, size: int, sha256: str) -> PublishedTagger:
    return PublishedTagger(name, f"SmilingWolf/{name}", revision,
                           (PublishedFile(*_WD_LABELS), PublishedFile(MODEL_FILE, size, sha256)))


PUBLISHED: Mapping[str, PublishedTagger] = {
    tagger.name: tagger
    for tagger in (
        _wd("wd-swinv2-tagger-v3", "627aef95638667ddcaa3ac8ae625e88ea5b02f51", 467_460_978,
            "e6774bff34d43bd49f75a47db4ef217dce701c9847b546523eb85ff6dbba1db1"),
        _wd("wd-vit-tagger-v3", "7f6b584d0bd3f55c4531f14ba3d4761b2bccdc0f", 378_536_310,
            "35f23693620b668f4d53fd3c62bf65e40af739bc52c7eb0fbc49258b58d065b6"),
        _wd("wd-convnext-tagger-v3", "d39e46de298d27340111b64965e20b8185c407e6", 394_990_732,
            "1b8a7abf13d9b8368267df47501d523789c4aeae66b2296ad98483239dfa32eb"),
        _wd("wd-vit-large-tagger-v3", "ae469aa2e4706a3af08d3673cf73a11d1add314c", 1_260_645_673,
            "e4c8001b000a6c98f2db10794f7c406daa79873d071d6ca924330fa053fa1845"),
        _wd("wd-eva02-large-tagger-v3", "b25b82a03f7282e41aa2f257a52c7583b710bd1c", 1_260_435_999,
            "9e768793060c7939b277ccb382783e8670e8a042d29d77aa736be0c8cc898bfc"),
        PublishedTagger("pixai-tagger-v0.9", "deepghs/pixai-tagger-v0.9-onnx",
                        "d8cf666911a2c3d10d586d7823259192313c7eb7", (
            PublishedFile("selected_tags.csv", 596_868,
                          "76b5dd39354a7a4d9baefb94d63b44a09a4934ee15303b7eb86c38f2128eb68a"),
            PublishedFile(MODEL_FILE, 1_271_365_854,
                          "a8d479098b5e23f253543c93df42391736abbb77c21c2efd3a513b9cda7b3657"))),
        PublishedTagger("cl-tagger-1.02", "cella110n/cl_tagger", "0b6e9b4e145b1423bfd1715119074a24a301b471", (
            PublishedFile("cl_tagger_1_02/tag_mapping.json", 4_088_861,
                          "9611988482f1bf9a174622c0067d0baa88fda69c0a855cc500411426e77832ec"),
            PublishedFile(f"cl_tagger_1_02/{MODEL_FILE}", 1_425_860_192,
                          "1459e946ffc083159015e0eb26239016349ddd36c3daecfeb70bfa4ccf38b944"))),
    )
}
"""Sizes and sha256 as the hub states them for these revisions."""


def model_file(folder: Path) -> Path:
    """The model of a tagger's folder: model.onnx, or the only .onnx there. Raises UserError."""
    if (folder / MODEL_FILE).is_file():
        return folder / MODEL_FILE
    found = sorted(folder.glob("*.onnx")) if folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    why = f"has {len(found)} .onnx files" if found else "has no .onnx file" if folder.is_dir() else "is not a folder"
    raise UserError(f"{folder} {why}; a tagger is a folder with {MODEL_FILE} and its label file.")


def installed_taggers(root: str | Path) -> tuple[str, ...]:
    """The names of the folders under `root` that hold a model, in order."""
    root = Path(root)
    folders = sorted(root.iterdir(), key=lambda path: path.name.casefold()) if root.is_dir() else ()
    return tuple(path.name for path in folders if not path.name.startswith(".") and path.is_dir() and any(
        path.glob("*.onnx")))


def find_tagger(name: str | Path, root: str | Path | None = None) -> Path:
    """The folder of that name under `root`; a Path is used as it is. Raises UserError with the names that exist.

    A str is a name, never a path: a widget's value cannot lead out of `root`.
    """
    if isinstance(name, Path):
        if not name.is_dir():
            raise UserError(f"{name} is not a folder; a tagger is a folder with {MODEL_FILE} and its label file.")
        return name
    there = (*(installed_taggers(root) if root is not None else ()), "sandbox")
    if root is not None and name in there and name != "sandbox":
        return Path(root) / name
    if name in PUBLISHED:
        size = PUBLISHED[name].size / 2**30
        raise UserError(f"tagger {name!r} is not in {root}; turn on the download ({size:.1f} GB), or choose one of "
                        f"{', '.join(there)}.")
    raise unknown_name(f"tagger (in {root})", name, {*there, *PUBLISHED})


def verify(folder: Path, files: Sequence[Path]) -> None:
    """Refuse files that differ from the published ones or, for other models, from those that were first used.

    A file's bytes are read again only if its size or modification time is not what was recorded. Raises UserError.
    """
    published = {file.name: file.sha256 for file in PUBLISHED[folder.name].files} if folder.name in PUBLISHED else {}
    recorded = _read_record(folder / HASHES_FILE)
    files = [*files, *(path for path in folder.glob("*.onnx.data") if path not in files)]
    current = {}
    for path in files:
        try:
            status = path.stat()
            marks = {"size": status.st_size, "modified_ns": status.st_mtime_ns}
            known = recorded.get(path.name, {})
            if {name: known.get(name) for name in marks} == marks:
                current[path.name] = known
                continue
            current[path.name] = {"sha256": file_hash(path), **marks}
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}.") from error
        _compare(path, current[path.name]["sha256"], published.get(path.name), known.get("sha256"))
    if current != recorded:
        # a folder that cannot be written to is only checked against what is published
        with suppress(UserError), locked(folder / HASHES_FILE):
            write_json(folder / HASHES_FILE, {**_read_record(folder / HASHES_FILE), **current})


def _read_record(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    record: dict[str, dict[str, Any]] = read_json(path)
    typed(record, dict[str, _FileMarks], path, "is damaged", "Delete it to accept the files as they are now.")
    return record


@dataclass(frozen=True)
class _FileMarks:
    """How a file of a tagger was when it was last read."""

    sha256: str
    size: int
    modified_ns: int


def _compare(path: Path, found: str, published: str | None, recorded: str | None) -> None:
    if published and found != published:
        raise UserError(f"{path} is not the published file (sha256 {found[:16]}…, not {published[:16]}…): it is "
                        "damaged, or another model. Download it again, or rename the folder if it is your own model.")
    if recorded and found != recorded and not published:
        raise UserError(f"{path} has changed since it was first used (sha256 {found[:16]}…, was {recorded[:16]}…). If "
                        f"you replaced it on purpose, delete {HASHES_FILE} beside it.")


Fetch = Callable[[str, str, str, Path], Path]
"""(repository, revision, path in it, folder to write to) → the file's path."""


def download_tagger(name: str, root: str | Path, fetch: Fetch | None = None) -> Events:
    """Download a published tagger to `root/<name>/`, yielding Progress after each file. Existing files are kept.

    A file gets its final name only once its sha256 is right. `fetch` defaults to huggingface_hub.
    Raises UserError: an unknown name, no space, no network, or a file that is not the published one.
    """
    if name not in PUBLISHED:
        raise unknown_name("published tagger", name, PUBLISHED)
    published, folder = PUBLISHED[name], Path(root) / name
    missing = [file for file in published.files if not (folder / file.name).is_file()]
    _check_room(folder, sum(file.size for file in missing))
    temp = Path(root) / f".{name}.download"
    yield Progress(f"downloading {name}", len(published.files) - len(missing), len(published.files))
    for number, file in enumerate(missing, len(published.files) - len(missing) + 1):
        path = (fetch or _fetch)(published.repository, published.revision, file.remote, temp)
        if (found := file_hash(path)) != file.sha256:
            remove_file(path)
            raise UserError(f"{file.remote} of {published.repository} arrived with sha256 {found[:16]}…, not "
                            f"{file.sha256[:16]}…, and was deleted. Try again.")
        make_folder(folder)
        move_file(path, folder / file.name)
        yield Progress(f"downloading {name}", number, len(published.files))
    shutil.rmtree(temp, ignore_errors=True)


def _check_room(folder: Path, needed: int) -> None:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed * 1.05:
        raise UserError(f"{folder} needs {needed / 2**30:.1f} GB, but only {free / 2**30:.1f} GB are free there. Free "
                        "some space, or choose another folder.")


def _fetch(repository: str, revision: str, remote: str, folder: Path) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UserError("downloading needs the huggingface_hub library; install it with `pip install huggingface_hub`, "
                        f"or get {remote} from huggingface.co/{repository} by hand.") from error
    try:
        return Path(hf_hub_download(repository, remote, revision=revision, local_dir=folder))
    except Exception as error:  # the hub raises types of its own libraries for each failure
        line = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise UserError(f"cannot download {remote} of huggingface.co/{repository} ({line}). Check the network, or get "
                        "it by hand and put it into a folder with the model's name.") from error
