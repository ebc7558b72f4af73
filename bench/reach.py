"""Makes a cast on a local Ray of two workers with one thread each, and one after another with one thread; plans 1,000.

    python -m lora_bootstrap.bench.reach [--characters 16] [--steps 50] [--sample-steps 8]

Nothing else should run meanwhile. Ray is needed: pip install ray
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..sandbox import world
from ..tests.helpers.cast import hash_results
from .characters import draw_characters
from .report import write_result

WORKERS, PLANNED = 2, 1000
PRICES = {"RTX 4090": 0.69, "A100 80 GB": 1.64, "H100": 2.99}
"""Prices of an hour, as given on the command line. They are examples, not quotations."""
NOTE = """
*seconds* is from the start of a process to its end, so with the start of Ray and of the workers and with the loading of
the base. *longest* and *mean project* are the largest tasks; the others are a sweep's cells and its scores.
*efficiency*: seconds one after another / (workers x seconds on Ray). The weights of the LoRAs, the
pixels of the cells and the scores of both are compared bit by bit.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--characters", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50, help="of the character LoRA; the style LoRA has half of it")
    parser.add_argument("--sample-steps", type=int, default=8, help="of each image")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        kind, folder = arguments.inside
        print(json.dumps(INSIDE[kind](Path(folder))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_cast(folder / "cast", arguments.characters, arguments.steps, arguments.sample_steps)
        rows = [_measured("one after another", "alone", folder, 1), _measured("Ray", "ray", folder, WORKERS)]
        seconds = [row["seconds"] for row in rows]
        for row, workers in zip(rows, (1, WORKERS), strict=True):
            row["efficiency"] = seconds[0] / (workers * row["seconds"])
        same = hash_results(folder / "alone") == hash_results(folder / "ray")
        write_cast(folder / "planned", PLANNED, arguments.steps, arguments.sample_steps)
        planned = _run("plan", folder)
    files = f"The results of both are {'the same' if same else 'NOT the same'}."
    notes = "\n\n".join((NOTE.strip(), files, _plan_words(planned)))
    print(write_result("reach", f"A cast of {arguments.characters} characters", rows, notes).read_text())


def write_cast(folder: Path, count: int, steps: int, sample_steps: int) -> None:
    """Files of so many characters of the drawn world, which no base was trained on; beyond 16, they are asked for
    again under other names."""
    folder.mkdir()
    known = {**world.HELD_OUT, **draw_characters()}
    scenes = {name: world.Scene(character) for name, character in known.items()}
    for name, scene in scenes.items():
        world.draw(scene, 96).save(folder / f"{name}.png")
    for number, name in zip(range(count), list(scenes) * (count // len(scenes) + 1), strict=False):
        (folder / f"{number:04}.toml").write_text(
            f'picture = "{name}.png"\ntags = "{", ".join(world.caption_tags(scenes[name]))}"\n'
            f'trigger = "zqx{number}"\ntargets = [4, 16]\ncandidates = [24]\n'
            f'sample_steps = {sample_steps}\n[style]\nsteps = {steps // 2}\n[character]\nsteps = {steps}\n'
            '[sweep]\nstrengths = [0.8, 1.0]\nprompt_set = "settings"\n')


def _measured(title: str, kind: str, folder: Path, workers: int) -> dict[str, Any]:
    started = time.monotonic()
    found = _run(kind, folder)
    seconds = time.monotonic() - started
    projects = found["projects"]
    return {"how": title, "workers": workers, "characters": len(projects), "ready or to look at": found["finished"],
            "seconds": seconds, "longest project": max(projects), "mean project": sum(projects) / len(projects)}


def _run(kind: str, folder: Path) -> Any:
    """What a process of its own, with one thread, prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
                   "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run([sys.executable, "-m", "lora_bootstrap.bench.reach", "--inside", kind, folder], check=True,
                          stdout=subprocess.PIPE, env=environment, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _plan_words(planned: dict[str, Any]) -> str:
    costs = "; ".join(f"{row['card']} {row['hours']:.1f} h, at {row['price']:.2f} an hour {row['cost']:.2f}"
                      for row in planned["cards"])
    return (f"{PLANNED} such characters were planned in {planned['seconds']:.1f} s ({planned['reading']:.1f} s to read "
            f"their files), with {planned['megabytes']:.0f} MB of memory beyond the libraries: "
            f"{planned['steps']:,} steps and {planned['images']:,} images; {costs}.")


# -- inside a process of its own -------------------------------------------------------------------------------------


def _make(folder: Path, output: Path, pool: Any) -> dict[str, Any]:
    from ..trainer.cast.batch import BatchFinished, TaskEnded, run_batch
    from ..trainer.cast.character import read_cast
    from ..trainer.cast.records import PROJECT, CastRecords

    cast = read_cast(sorted((folder / "cast").glob("*.toml")))
    events = list(run_batch(cast, CastRecords(output, "cast"), pool))
    last = events[-1]
    assert isinstance(last, BatchFinished)
    counts = last.report.counts
    return {"finished": counts["ready"] + counts["look at it"],
            "projects": [event.result.seconds for event in events
                         if isinstance(event, TaskEnded) and event.job.kind == PROJECT]}


def _alone(folder: Path) -> dict[str, Any]:
    from ..tests.helpers.cast import Here

    return _make(folder, folder / "alone", Here(folder / "alone"))


def _on_ray(folder: Path) -> dict[str, Any]:
    from ..trainer.cast.ray_pool import RayPool, WorkerSettings

    with RayPool(folder / "ray", WorkerSettings(workers=WORKERS, gpus=0.0)) as pool:
        return _make(folder, folder / "ray", pool)


def _plan(folder: Path) -> dict[str, Any]:
    import diffusers  # noqa: F401 (its memory is not the plan's)

    from ..trainer.cast.character import read_cast
    from ..trainer.cast.plan import plan_cast
    from ..trainer.cast.records import CastRecords

    before, started = _peak(), time.monotonic()
    cast = read_cast(sorted((folder / "planned").glob("*.toml")))
    reading = time.monotonic() - started
    plan = plan_cast(cast, PRICES, WORKERS, CastRecords(folder / "planned", "cast"))
    return {"seconds": time.monotonic() - started, "reading": reading, "megabytes": _peak() - before,
            "steps": plan.steps, "images": plan.images, "cards": [vars(row) for row in plan.cards]}


def _peak() -> float:
    """Megabytes that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


INSIDE: dict[str, Callable[[Path], Any]] = {"alone": _alone, "ray": _on_ray, "plan": _plan}


if __name__ == "__main__":
    main()
