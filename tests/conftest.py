"""The files that take minutes come first, so that none of them is left to a single worker at the end."""

from __future__ import annotations

from pathlib import Path

LONG = ("test_bootstrap_loop.py", "test_inside.py", "test_train_panel.py", "test_server_bootstrap.py",
        "test_sweep_viewer.py", "test_server_runs.py", "test_gallery.py", "test_server_sweeps.py",
        "test_tag_editor.py", "test_server.py", "test_lora_stack_list.py")
"""The longest first, a browser's beside one without; `--no-loadscope-reorder` keeps pytest-xdist to it."""


def pytest_collection_modifyitems(items: list) -> None:
    """Put the long files before the others, which keep their order."""
    rank = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(Path(item.path).name, len(LONG)))
