"""Hashes of a LoRA file as sites and web UIs compute them.

AutoV1 is A1111's first hash (64 KB from the second megabyte on), AutoV2 the start of sha256, AutoV3 the start of the
sha256 of the tensors, which kohya's trainer states as `sshs_model_hash`. Facts from A1111's modules/hashes.py and
Civitai's API. BLAKE3 is left out: Python does not have it.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

from ..common.files import file_hash

_BLOCK = 1 << 20
_V1_START, _V1_LENGTH = 0x100000, 0x10000


def site_hashes(path: Path) -> dict[str, str]:
    """SHA256, AutoV1, AutoV2, AutoV3 and CRC32, in capital letters. AutoV1 is left out for a file that ends before the
    bytes that it is made of: all such files would have the same one. Raises OSError if the file cannot be read."""
    tensors, check = hashlib.sha256(), 0
    with open(path, "rb") as file:
        file.seek(_V1_START)
        first = file.read(_V1_LENGTH)
        file.seek(0)
        start = 8 + int.from_bytes(file.read(8), "little")
        file.seek(0)
        at = 0
        while block := file.read(_BLOCK):
            check = zlib.crc32(block, check)
            tensors.update(block[max(0, start - at):])
            at += len(block)
    digest = file_hash(path)
    v1 = {"AutoV1": hashlib.sha256(first).hexdigest()[:8]} if len(first) == _V1_LENGTH else {}
    return {name: text.upper() for name, text in {
        "SHA256": digest, **v1, "AutoV2": digest[:10], "AutoV3": tensors.hexdigest()[:12],
        "CRC32": f"{check:08x}"}.items()}
