"""Where the pack reads and writes, and the check that no text from a widget or a route leads anywhere else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

import folder_paths

from ..trainer.common.errors import UserError
from ..trainer.common.files import file_hash
from ..trainer.common.names import checked_name

PACK = Path(__file__).resolve().parents[1]


def output_root() -> Path:
    return Path(folder_paths.get_output_directory())


def loras_root() -> Path:
    """Where runs are saved. The host has it among its LoRA folders, so every loader lists what is trained."""
    return output_root() / "loras"


def projects_root() -> Path:
    """Where bootstrap projects are saved, one folder each."""
    return output_root() / "bootstrap"


def datasets_root() -> Path:
    """Where datasets made in a workflow are saved, one folder each."""
    return projects_root() / "datasets"


def dataset_roots() -> dict[str, Path]:
    """The folders that datasets may be read from, by the first word of a path."""
    return {"input": Path(folder_paths.get_input_directory()), "output": output_root(), "sandbox": PACK / "sandbox"}


def host_dataset_roots() -> tuple[Path, ...]:
    """The folders in which the host's own dataset nodes keep datasets; none in a host that has no such folders."""
    return tuple(map(Path, folder_paths.folder_names_and_paths.get("datasets", ((),))[0]))


def edits_root() -> Path:
    """Where captions that were changed by hand are saved, one file per editor."""
    return Path(folder_paths.get_user_directory()) / "lora_bootstrap" / "edits"


def saved_root() -> Path:
    """Where Save Dataset puts kohya folders."""
    return output_root() / "datasets"


def sweeps_root() -> Path:
    """Where sweeps are saved, one folder each."""
    return output_root() / "sweeps"


def conflicts_root() -> Path:
    """Where reports on how LoRAs override each other are saved."""
    return output_root() / "conflicts"


def merged_root() -> Path:
    """Where merged LoRAs are saved, among the host's LoRA folders."""
    return loras_root() / "merged"


def extracted_root() -> Path:
    """Where LoRAs extracted from fine-tuned models are saved, among the host's LoRA folders."""
    return loras_root() / "extracted"


def resized_root() -> Path:
    """Where LoRAs that were made smaller are saved, among the host's LoRA folders."""
    return loras_root() / "resized"


def filtered_root() -> Path:
    """Where LoRAs reduced to some of their blocks are saved, among the host's LoRA folders."""
    return loras_root() / "filtered"


def releases_root() -> Path:
    """Where releases are saved, one folder and its zips each, among the host's LoRA folders."""
    return loras_root() / "releases"


def jobs_root() -> Path:
    """Where jobs for other machines are written."""
    return output_root() / "jobs"


def result_files() -> dict[str, Path]:
    """Zips, and LoRA files in the input folder, that may be the result of a job, by the names that a widget lists,
    newest first."""
    places = (("input", dataset_roots()["input"], (".zip", ".safetensors")), ("output", output_root(), (".zip",)),
              ("output/jobs", jobs_root(), (".zip",)))
    found = [(f"{name}/{path.name}", path) for name, root, endings in places if root.is_dir()
             for path in root.iterdir() if path.suffix.lower() in endings and path.is_file() and inside(root, path)]
    return dict(sorted(found, key=lambda row: (-row[1].stat().st_mtime_ns, row[0])))


def audits_root() -> Path:
    """Where the measurements of audits are saved, so that the next audit measures only new images."""
    return output_root() / "audits"


def temp_root() -> Path:
    """A folder that the host clears when it starts."""
    return Path(folder_paths.get_temp_directory()) / "lora_bootstrap"


def model_roots(kind: str) -> tuple[Path, ...]:
    """Where models of one of our kinds are, one folder each: models/<kind>, and the folders in
    extra_model_paths.yaml."""
    extra = folder_paths.folder_names_and_paths.get(kind, ((),))[0]
    return tuple(dict.fromkeys((Path(folder_paths.models_dir) / kind, *map(Path, extra))))


def inside(root: Path, path: Path) -> bool:
    """Whether a path lies in a folder, links followed."""
    real_root = os.path.realpath(root)
    try:
        return os.path.commonpath((real_root, os.path.realpath(path))) == real_root
    except ValueError:  # another drive
        return False


def dataset_folder(text: str) -> Path:
    """The folder that a widget's text names: `input/…`, `output/…`, `sandbox/…`, a path inside one of the first two, or
    `datasets/…` in the host's own folders of datasets.

    Raises UserError if it does not exist, or is outside these folders.
    """
    wanted = _plain(text)
    if not wanted:
        raise UserError("the folder is empty; give one inside ComfyUI's input or output folder, such as my_pictures.")
    if _leads_away(wanted):
        raise UserError(f"folder {text!r} is not in input/ or output/; put the images there and give the path from "
                        "there on, such as my_pictures.")
    roots = dataset_roots()
    for root, path in (*_candidates(wanted, roots), *_host_datasets(wanted)):
        if os.path.isdir(path):  # False also for a name that is too long
            if not inside(root, path):
                raise UserError(f"folder {text!r} is a link to a place outside {root.name}/; move the images there, or "
                                "start ComfyUI with --input-directory.")
            return path
    raise UserError(f"there is no folder {text!r} in input/ or output/.{_folders_there(roots['input'])}")


def table_file(text: str) -> Path | None:
    """The CSV file in input/ or output/ that a widget's text names; None for an empty text. Raises UserError if there
    is none."""
    wanted = _plain(text)
    if not wanted:
        return None
    for root, path in () if _leads_away(wanted) else _candidates(wanted, dataset_roots()):
        if os.path.isfile(path) and path.suffix.lower() == ".csv" and inside(root, path):
            return path
    raise UserError(f"there is no CSV file {text!r} in input/ or output/; put it into ComfyUI's input folder and give "
                    "its name, such as aliases.csv.")


def _plain(text: str) -> str:
    return text.strip().strip('"').replace("\\", "/").rstrip("/")


def _leads_away(wanted: str) -> bool:
    return wanted.startswith(("/", "~")) or ":" in wanted or not wanted.isprintable() or ".." in wanted.split("/")


def _parts(wanted: str) -> tuple[str, ...]:
    """The folders that a path names; "." alone, the whole of input/ or output/, is one too."""
    return PurePosixPath(wanted).parts or (".",)


def _candidates(wanted: str, roots: dict[str, Path]) -> list[tuple[Path, Path]]:
    first, *rest = _parts(wanted)
    named = [(roots[first], roots[first].joinpath(*rest))] if first in roots else []
    return named + [(roots[name], roots[name] / wanted) for name in ("input", "output")]


def _host_datasets(wanted: str) -> list[tuple[Path, Path]]:
    """They come last: a folder `datasets` in input/ or output/, where Save Dataset writes, has that name too."""
    first, *rest = _parts(wanted)
    return [(root, root.joinpath(*rest)) for root in host_dataset_roots()] if first == "datasets" and rest else []


def _folders_there(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return f" In input/ there are: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}." if names else (
        " Make one in ComfyUI's input folder and put the images in it.")


def own_folder(root: Path, name: str) -> Path:
    """The folder of that name directly below `root`. Raises UserError if the name is not valid, or leads elsewhere.

    A folder that an older version made is still found under a name that is refused today.
    """
    return _own_place(root, name.strip(), "")


def edits_file(name: str) -> Path:
    """The file of an editor of that name. Raises UserError as `own_folder` does."""
    return _own_place(edits_root(), name.strip(), ".json")


def _own_place(root: Path, name: str, ending: str) -> Path:
    path = root / ((name if _is_listed(root, name, ending) else checked_name(name)) + ending)
    if not inside(root, path):
        raise UserError(f"name {name!r} cannot be a folder's or a file's; it is a link to a place outside "
                        f"{root.name}/. Choose another name.")
    return path


def _is_listed(root: Path, name: str, ending: str) -> bool:
    """Whether the folder lists exactly this name: a path leads to the same place under other names too."""
    with suppress(OSError):
        return name.isprintable() and name[:1] not in ("", ".") and name + ending in os.listdir(root)
    return False


def lora_place(path: Path) -> str:
    """Where a file lies below `loras_root`; links on the way to that folder are followed. Loaders find a LoRA under
    this name only if no other of their folders has a file of the same name: see `lora_name`."""
    return _below(loras_root(), path) or os.path.relpath(path, loras_root())


def lora_name(path: Path) -> str:
    """The name under which the host's loaders find exactly this LoRA file, or one of the same content.

    Raises UserError if they find another file, which they would load instead.
    """
    places = [name for root in (loras_root(), *_lora_roots()) if (name := _below(root, path))]
    listed = [name for name in folder_paths.get_filename_list("loras") if Path(name).name == path.name]
    found = {name: other for name in (*places, *listed) if (other := folder_paths.get_full_path("loras", name))}
    for name, other in found.items():  # a folder among the host's may be a link, or lie in another
        if _alike(other, path):
            return name
    if not found:
        raise UserError(f"{path} is in none of ComfyUI's LoRA folders; move it into models/loras.")
    name, other = next(iter(found.items()))
    raise UserError(f"ComfyUI loads {other} under the name {name!r}, not {path}. Rename or move one of the files.")


def lora_file(name: str) -> Path:
    """The file that the host's loaders find under that name. Raises UserError if there is none."""
    found = folder_paths.get_full_path("loras", name)
    if found is None:
        raise UserError(f"there is no LoRA {name!r} in ComfyUI's LoRA folders. Train it, or press R and choose again.")
    return Path(found)


def lora_of_hash(name: str, sha256: str) -> Path | None:
    """The file of that name and hash in any of the host's LoRA folders, a run's own first, also one that another file
    hides; None if there is none."""
    inner = os.path.relpath(os.path.join("/", name), "/")  # as the host does, so that no name leads out of the folders
    files = [path for root in (loras_root(), *_lora_roots()) if (path := root / inner).is_file()]
    return next((path for path in files if file_hash(path) == sha256), None)


def _lora_roots() -> list[Path]:
    return [Path(folder) for folder in folder_paths.get_folder_paths("loras")]


def _below(root: Path, path: Path) -> str:
    """A path relative to `root`, as it is written or with links followed; "" if it is not below it."""
    for real in (os.path.abspath, os.path.realpath):
        if Path(real(path)).is_relative_to(real(root)):
            return os.path.relpath(real(path), real(root))
    return ""


def _alike(found: str, path: Path) -> bool:
    """Whether two paths lead to one file, or to files of the same content."""
    same_size = os.path.getsize(found) == os.path.getsize(path)
    return os.path.samefile(found, path) or same_size and file_hash(found) == file_hash(path)


def view_place(path: Path) -> dict[str, str]:
    """{"filename", "subfolder", "type"} of a file below `loras_root`, as the host's /view route takes them."""
    subfolder = PurePosixPath("loras", *Path(lora_place(path)).parent.parts)
    return {"filename": path.name, "subfolder": str(subfolder), "type": "output"}


def output_path(path: Path) -> str:
    """A path relative to the output folder, as project.json holds it."""
    return path.resolve().relative_to(output_root().resolve()).as_posix()
