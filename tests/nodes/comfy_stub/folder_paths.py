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
