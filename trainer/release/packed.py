"""The zip of a release: the same bytes from the same files, and only names that every machine can unpack."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..common.files import atomic_path
from ..common.names import checked_name

FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""The earliest date of a zip. Real dates would make two zips of the same files differ."""
STORED = (".png", ".jpg", ".safetensors")
"""Endings of files that do not become smaller."""
_UNIX, _PLAIN_FILE = 3, 0o100644 << 16


def write_zip(file: Path, folder: Path, names: Sequence[str], inside: str) -> None:
    """Write these files of a folder into a zip, below a folder in it. Raises UserError for a name that some machine
    cannot hold, and if the zip cannot be written."""
    with atomic_path(file) as temp, zipfile.ZipFile(temp, "w") as archive:
        for name in sorted(names):
            info = new_entry(f"{inside}/{name}")
            info.file_size = (folder / name).stat().st_size  # decides whether the entry needs 64-bit sizes
            with open(folder / name, "rb") as source, archive.open(info, "w") as target:
                while block := source.read(1 << 20):
                    target.write(block)


def new_entry(name: str) -> zipfile.ZipInfo:
    """An entry that is the same whenever and wherever it is written. Raises UserError for a name that some machine
    cannot hold."""
    for part in name.split("/"):
        checked_name(part, "name in the zip")
    info = zipfile.ZipInfo(name, FIRST_DAY)
    info.compress_type = zipfile.ZIP_STORED if name.endswith(STORED) else zipfile.ZIP_DEFLATED
    info.create_system, info.external_attr = _UNIX, _PLAIN_FILE
    return info
