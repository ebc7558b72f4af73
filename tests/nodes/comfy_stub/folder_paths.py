"""The host's folders; a test sets `base`."""

from pathlib import Path

base = Path("nowhere")


def get_output_directory():
    return str(base / "output")


def get_input_directory():
    return str(base / "input")
