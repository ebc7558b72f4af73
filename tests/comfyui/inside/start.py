"""Makes a ComfyUI importable in its own Python, on the CPU, and this pack as the package `lora_bootstrap`."""

import importlib.util
import sys
from pathlib import Path

PACK = Path(__file__).parents[3]


def start_host(folder: str) -> None:
    sys.path.insert(0, folder)
    ours, sys.argv = sys.argv, ["main.py", "--cpu"]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401
    finally:
        sys.argv = ours


def load_pack() -> None:
    """Never through sys.path: the pack's folder `nodes` would hide the host's module of that name."""
    load("lora_bootstrap", PACK / "__init__.py", [str(PACK)])


def load(name: str, path: Path, folders: list[str] | None = None) -> None:
    """Import a file under a name."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
