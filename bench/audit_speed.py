"""How long an audit takes for each image, beside the least that any search for copies must do: decode and hash.

`python -m lora_bootstrap.bench.audit_speed` audits folders of drawings, and of photographs if scikit-image is
installed, in turns with that limit, and writes bench/results/audit_speed.md and .json. `--before PACKAGE` names an
older copy of this pack that can be imported; it takes its turns too.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..trainer.audits.audit import AuditConfig, audit
from ..trainer.datasets.dataset import load_folder
from ..trainer.pictures.duplicates import fingerprint_picture
from ..trainer.pictures.images import open_image
from .audit import SEED, drawings, photographs
from .report import write_result

LIMIT = "decode and hash"
MOST = 60.0
"""Milliseconds for each image of 512 px: 10,000 images in ten minutes on one core."""

Way = Callable[[Path], Any]
"""Handles all images of a folder, which is not changed."""


def write_images(folder: Path, count: int, side: int) -> None:
    """JPEG files with captions, half of them photographs if there are any."""
    images = [*drawings(count - count // 2, side, SEED), *photographs(count // 2, side, SEED)]
    for number, image in enumerate(images):
        image.save(folder / f"{number:04}.jpg", quality=95)
        (folder / f"{number:04}.txt").write_text("mina, 1girl, black hair, smile, upper body, outdoors", "utf-8")


def _decode_and_hash(folder: Path) -> None:
    for path in sorted(folder.glob("*.jpg")):
        fingerprint_picture(open_image(path))


def _run_audit(folder: Path, config: Any, run: Callable[..., Any] = audit,
               load: Callable[..., Any] = load_folder) -> None:
    with tempfile.TemporaryDirectory() as cache:
        for _ in run(load(folder), config, cache):
            pass


def ways(side: int, before: str) -> Mapping[str, Way]:
    """What takes turns, by name."""
    found: dict[str, Way] = {
        LIMIT: _decode_and_hash,
        "copies only": lambda folder: _run_audit(folder, AuditConfig(resolution=side, workers=1, copies_only=True)),
        "all checks": lambda folder: _run_audit(folder, AuditConfig(resolution=side, workers=1)),
    }
    if before:
        older = importlib.import_module(f"{before}.trainer.audits.audit")
        reader = importlib.import_module(f"{before}.trainer.datasets.dataset")
        found["all checks, before"] = lambda folder: _run_audit(
            folder, older.AuditConfig(resolution=side, workers=1), older.audit, reader.load_folder)
    return found


def measure_ways(folder: Path, named: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each way in each round, after one turn of each that does not count."""
    times: dict[str, list[float]] = {name: [] for name in named}
    for round_ in range(rounds + 1):
        for name, way in named.items():
            begin = time.process_time()
            way(folder)
            if round_:
                times[name].append(time.process_time() - begin)
    return times


def speed_rows(side: int, count: int, rounds: int, before: str) -> list[dict[str, Any]]:
    """One row a way: processor milliseconds for each image, and the median ratio to the limit of the same round."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        write_images(folder, count, side)
        images = len(list(folder.glob("*.jpg")))
        times = measure_ways(folder, ways(side, before), rounds)
    rows = []
    for name, seconds in times.items():
        each = 1000 * statistics.median(seconds) / images
        ratio = statistics.median(own / limit for own, limit in zip(seconds, times[LIMIT], strict=True))
        judged = name == "all checks" and side == 512
        rows.append({"way": name, "side": side, "images": images, "ms an image": round(each, 1),
                     "of the limit": round(ratio, 2),
                     "target": ("met" if each <= MOST else "missed") if judged else ""})
    return rows


NOTES = f"""Processor milliseconds of one core, everything included: reading the folder, decoding, measuring, the cache
on disk, comparing. Medians of {{rounds}} rounds in which the ways took turns; a crowded machine makes all of them
slower, and leaves their ratios as they are. Target: {MOST:.0f} ms at 512 px, which is 10,000 images in ten minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--before", default="", metavar="PACKAGE", help="an older copy of the pack to compare with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for side in options.sides for row in speed_rows(side, options.images, options.rounds, options.before)]
    notes = NOTES.format(rounds=options.rounds)
    print(write_result("audit_speed", "What an audit costs for each image", rows, notes).read_text())


if __name__ == "__main__":
    main()
