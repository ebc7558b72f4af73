"""The host's folders; a test sets `base`."""

from pathlib import Path

base = Path("nowhere")
folder_names_and_paths = {}


def __getattr__(name):
    if name == "models_dir":
        return str(base / "models")
    raise AttributeError(name)


def get_output_directory():
    return str(base / "output")


def get_input_directory():
    return str(base / "input")


def get_user_directory():
    return str(base / "user")


def get_temp_directory():
    return str(base / "temp")


def get_folder_paths(kind):
    """Below models/, and below output/ where the host itself saves such models."""
    return [str(base / root / kind) for root in ("models", "output")]


def get_filename_list(kind):
    folders = [Path(folder) for folder in get_folder_paths(kind)]
    return sorted({str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*.safetensors")})


def get_full_path(kind, name):
    return next((str(path) for folder in get_folder_paths(kind) if (path := Path(folder) / name).is_file()), None)
