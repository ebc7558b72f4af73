"""What every bench writes: a Markdown table and the same figures as JSON, with machine and date."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..trainer.common.files import atomic_write, write_json

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What the figures were measured on; nothing that names the machine itself."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "date": datetime.date.today().isoformat(), "cores": os.cpu_count(), "gpu": gpu,
        "processor": _processor(), "python": platform.python_version(), "torch": torch.__version__,
    }


def write_result(name: str, title: str, rows: Sequence[Mapping[str, Any]], notes: str = "") -> Path:
    """Write results/<name>.md and .json; returns the path of the former. All rows have the keys of the first."""
    where, columns = machine(), list(rows[0])
    lines = [f"# {title}", "", "Measured on " + ", ".join(f"{key} {value}" for key, value in where.items()) + ".", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    path = RESULTS / f"{name}.md"
    atomic_write(path, ("\n".join(lines) + ("\n\n" + notes.strip() if notes else "") + "\n").encode())
    write_json(path.with_suffix(".json"), {"machine": where, "rows": list(rows), "notes": notes})
    return path


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
