"""What becomes of a character under a style LoRA, by every way of putting the two together (sandbox judge).

`python -m lora_bootstrap.bench.conflict` trains 4 characters and 6 styles, draws each pair by each way, and writes
bench/results/conflict.md and .json; what is there already is not made again.

A character is prompted by its trigger alone, a style by its own; the prompt names neither a tag of the identity nor the
style's. Four of the styles are drawn with many girls, all their tags in the captions; the two "narrow" ones, as an
artist's favourites are, with three girls whose tags are not in the captions. The judge reads identity, style and prompt
(angle, framing, expression, background) on views that no training saw; harmonic is the harmonic mean of the three.
"Identity lost" is against the character alone at its strength. All LoRAs here have one rank in the same layers of a
small base, so their kappas are nearly one number, which cannot rank anything; what differs is how large they are.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..sandbox import world
from ..sandbox.judge import Judge, label, load_judge
from ..trainer.backends.diffusers import load_backbone
from ..trainer.bootstrap.candidates import picture_seed
from ..trainer.captions.tags import absorb, join_tags
from ..trainer.common.files import atomic_write, read_json, write_json
from ..trainer.datasets.dataset import Dataset, load_folder
from ..trainer.models.sampler import Sampler, save_picture
from ..trainer.stacks.conflict import measure_conflict
from ..trainer.stacks.merge import WEIGHTS, MergeSettings, merge_loras
from ..trainer.stacks.stack import CHARACTER, StackEntry
from ..trainer.stacks.time_split import PRESETS, STYLE
from ..trainer.training import adapters
from ..trainer.training.events import Finished
from ..trainer.training.loop import train
from ..trainer.training.presets import preset_config
from .loha import loha_training
from .picker import spearman
from .report import write_result

CHARACTERS = ("akane", "mizuki", "hinata", "momo")
STYLES = {"lineart": "lineart", "pastel": "pastel", "dark": "dark", "pixel art": "pixel art",
          "narrow lineart": "lineart", "narrow pixel art": "pixel art"}
"""Style LoRA: the world's style it draws."""
TRIGGER, STYLE_TRIGGER = "zqx", "kvb"
PICTURES, GIRLS = 16, 3
PROBES, VIEWS, STEPS = 8, 20, 12
GUIDES = (0.8, 0.5)
"""The strengths that guides name for a character and a style."""
FULL = (1.0, 1.0)
GRID = ((0.5, 0.65, 0.8, 0.9, 1.0), (0.3, 0.4, 0.5, 0.65, 0.8))
SETTINGS: Mapping[str, Any] = {"data.upscale": True, "steps": 350, "save_every": 0}
PLAIN, FILES = "plain sum, 0.8 + 0.5", "recommended from the files"
ALONE = {GUIDES: ("character alone, 0.8", "style alone, 0.5"), FULL: ("character alone, 1", "style alone, 1")}
STACKED = {GUIDES: PLAIN, FULL: "plain sum, 1 + 1"}
WANTED, LOST, RANKED = 0.05, 0.03, 0.6

Strengths = tuple[float, float]
Pair = tuple[str, str]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--characters", type=int, default=len(CHARACTERS))
    parser.add_argument("--styles", type=int, default=len(STYLES))
    parser.add_argument("--ways", nargs="*", default=None, help=(
        "only those whose names hold one of these words; the tables have all that were measured"))
    parser.add_argument("--work", type=Path, default=Path("output/bench-conflict"), help="LoRAs and what was read")
    options = parser.parse_args(argv)
    bench = Bench(options.work, load_backbone("sandbox"), load_judge())
    pairs = list(itertools.product(CHARACTERS[: options.characters], list(STYLES)[: options.styles]))
    ways = {name: way for name, way in WAYS.items()
            if options.ways is None or any(word in name for word in options.ways)}
    for name, way in ways.items():
        started = time.monotonic()
        for pair in pairs:
            bench.measured(name, way, pair)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
    write_tables(bench, pairs)


def at(strengths: Strengths) -> str:
    return f"{strengths[0]:g} + {strengths[1]:g}"


# -- LoRAs -------------------------------------------------------------------------------------------------------------


def character_scenes(name: str, varied: bool) -> list[world.Scene]:
    rng = random.Random(f"{name} {varied}")
    fixed = {} if varied else {"style": "flat color"}
    return [world.sample_scene(rng, world.HELD_OUT[name], **fixed) for _ in range(PICTURES)]


def style_scenes(name: str) -> list[world.Scene]:
    rng = random.Random(name)
    girls = [world.sample_character(rng) for _ in range(GIRLS if "narrow" in name else PICTURES)]
    return [world.sample_scene(rng, girls[index % len(girls)], style=STYLES[name]) for index in range(PICTURES)]


def caption(triggers: Sequence[str], scene: world.Scene, unsaid: Sequence[str]) -> str:
    """The triggers and the scene's tags without those that they are to own."""
    return join_tags([*triggers, *absorb(world.caption_tags(scene), unsaid)])


def character_caption(scene: world.Scene, varied: bool) -> str:
    return caption([TRIGGER], scene, [*scene.character.identity, *([] if varied else [scene.style])])


def style_caption(scene: world.Scene, narrow: bool) -> str:
    return caption([STYLE_TRIGGER], scene, [scene.style, *(scene.character.identity if narrow else ())])


class Bench:
    """The LoRAs, made when they are asked for, and what the judge reads of each pair by each way."""

    def __init__(self, work: Path, backbone: Any, judge: Judge) -> None:
        self.work, self.backbone, self.judge = work, backbone, judge
        self.files: dict[str, Path] = {}
        self.sampler = Sampler.of(backbone, steps=STEPS)

    def character(self, name: str, kind: str = "lora") -> Path:
        """`kind`: lora, loha, or varied for pictures in all styles with the style in the captions."""
        scenes = character_scenes(name, kind == "varied")
        captions = [character_caption(scene, kind == "varied") for scene in scenes]
        with loha_training() if kind == "loha" else ExitStack():
            return self.trained(f"{name} {kind}", CHARACTER, scenes, captions)

    def style(self, name: str) -> Path:
        scenes = style_scenes(name)
        return self.trained(name, STYLE, scenes, [style_caption(scene, "narrow" in name) for scene in scenes])

    def trained(self, name: str, kind: str, scenes: Sequence[world.Scene], captions: Sequence[str],
                settings: Mapping[str, Any] | None = None, beside: Sequence[StackEntry] = ()) -> Path:
        name = name.replace(" ", "-")
        if name not in self.files:
            config = preset_config(self.backbone.family, "character",
                                   {**SETTINGS, "name": name, "kind": kind, **(settings or {})})
            pictures = self._pictures(name, scenes, captions)
            *_, end = train(self.backbone, pictures, config, self.work / "loras", beside=beside)
            assert isinstance(end, Finished)
            self.files[name] = end.path
        return self.files[name]

    def _pictures(self, name: str, scenes: Sequence[world.Scene], captions: Sequence[str]) -> Dataset:
        folder = self.work / "pictures" / name
        for index, (scene, text) in enumerate(zip(scenes, captions, strict=True)):
            if not (folder / f"{index:02d}.txt").exists():
                save_picture(folder / f"{index:02d}.png", world.draw(scene, 128))
                atomic_write(folder / f"{index:02d}.txt", text.encode())
        return load_folder(folder)

    def entries(self, pair: Pair, strengths: Strengths, kind: str = "lora") -> list[StackEntry]:
        return [StackEntry(path=self.character(pair[0], kind), strength=strengths[0], role=CHARACTER),
                StackEntry(path=self.style(pair[1]), strength=strengths[1], role=STYLE)]

    # -- what is read --------------------------------------------------------------------------------------------------

    def known(self, way: str, pair: Pair) -> dict[str, float] | None:
        store = self._store(way, pair)
        return read_json(store) if store.exists() else None

    def measured(self, name: str, way: Callable[[Bench, Pair], dict[str, Any]], pair: Pair) -> dict[str, Any]:
        if (found := self.known(name, pair)) is None:
            found = way(self, pair)
            write_json(self._store(name, pair), found)
        return found

    def facts(self, pair: Pair, strengths: Strengths = GUIDES) -> dict[str, Any]:
        """What the two files alone tell."""
        store = self.work / "facts" / at(strengths) / f"{' x '.join(pair)}.json"
        if not store.exists():
            report = measure_conflict(self.entries(pair, strengths))
            (found,) = report.pairs
            write_json(store, {"kappa": found.total.kappa, "excess": found.total.excess, "cosine": found.total.cosine,
                               "override": found.used.second_over_first, "reverse": found.used.first_over_second,
                               "energy": found.used.second / found.used.first, "verdict": report.verdict})
        return read_json(store)

    def _store(self, way: str, pair: Pair) -> Path:
        return self.work / "read" / way / f"{' x '.join(pair)}.json"

    def scenes(self, pair: Pair, purpose: str, count: int) -> list[world.Scene]:
        """Views of the character in the style; the same for every style LoRA that draws it."""
        rng = random.Random(f"{pair[0]} {STYLES[pair[1]]} {purpose}")
        return [world.sample_scene(rng, world.HELD_OUT[pair[0]], style=STYLES[pair[1]]) for _ in range(count)]

    @torch.no_grad()
    def read(self, pair: Pair, triggers: Sequence[str], purpose: str = "truth", count: int = VIEWS) -> dict[str, float]:
        """Identity, style and prompt (0..1) of pictures by the backbone as it is now."""
        scenes = self.scenes(pair, purpose, count)
        prompts = [caption(triggers, scene, [*scene.character.identity, scene.style]) for scene in scenes]
        seeds = [picture_seed(CHARACTERS.index(pair[0]), len(purpose), index) for index in range(count)]
        size = self.sampler.batch
        pictures = torch.cat([self.sampler.pictures(self.backbone, prompts[at : at + size], seeds[at : at + size])
                              for at in range(0, count, size)])
        chosen = {head: part.argmax(1).tolist() for head, part in self.judge.read(pictures).items()}

        def share(heads: Sequence[str]) -> float:
            hits = [read == label(scene, head) for head in heads
                    for read, scene in zip(chosen[head], scenes, strict=True) if label(scene, head) >= 0]
            return sum(hits) / len(hits)

        return {"identity": share(world.IDENTITY), "style": share(["style"]),
                "prompt": share([head for head in world.CONTEXT if head != "style"])}

    @contextmanager
    def applied(self, entries: Sequence[StackEntry]) -> Iterator[list[adapters.NetworkLora]]:
        with ExitStack() as stack:
            yield [stack.enter_context(self.backbone.lora(entry.path, entry.strength)) for entry in entries]


BOTH = (TRIGGER, STYLE_TRIGGER)


def harmonic(row: Mapping[str, float]) -> float:
    return 3 / sum(1 / max(row[name], 1e-9) for name in ("identity", "style", "prompt"))


# -- ways --------------------------------------------------------------------------------------------------------------


def alone(place: int, strength: float, bench: Bench, pair: Pair) -> dict[str, float]:
    with bench.applied([bench.entries(pair, (strength, strength))[place]]):
        return bench.read(pair, [BOTH[place]])


def plain(strengths: Strengths, bench: Bench, pair: Pair, kind: str = "lora", purpose: str = "truth",
          count: int = VIEWS) -> dict[str, Any]:
    with bench.applied(bench.entries(pair, strengths, kind)):
        return {**bench.read(pair, BOTH, purpose, count), "strengths": strengths}


def recommended(bench: Bench, pair: Pair) -> dict[str, Any]:
    """At the strengths that the two files alone recommend."""
    return plain(measure_conflict(bench.entries(pair, GUIDES)).recommended, bench, pair)


def merged(strengths: Strengths, settings: MergeSettings, bench: Bench, pair: Pair) -> dict[str, float]:
    with bench.backbone.lora(merge_loras(bench.entries(pair, strengths), settings).lora):
        return bench.read(pair, BOTH)


def split(strengths: Strengths, preset: str, bench: Bench, pair: Pair) -> dict[str, float]:
    """By keyframes as the host has them: a share of the schedule is the same share of the 1000 training times."""
    with bench.applied(bench.entries(pair, strengths)) as both:

        def change(_network: nn.Module, inputs: tuple[Any, ...]) -> None:
            done = 1 - float(torch.as_tensor(inputs[1]).flatten()[0]) / 999
            for lora, strength, curve in zip(both, strengths, PRESETS[preset], strict=True):
                lora.set_strength(strength * curve.at(done))

        hook = bench.backbone.network.register_forward_pre_hook(change)
        try:
            return bench.read(pair, BOTH)
        finally:
            hook.remove()


def refined(bench: Bench, pair: Pair) -> dict[str, Any]:
    """At the best of 5 x 5 strengths on other views."""
    store = bench.work / "grids" / f"{' x '.join(pair)}.json"
    grid = {tuple(row["strengths"]): row for row in read_json(store)} if store.exists() else {}
    for strengths in itertools.product(*GRID):
        if strengths not in grid:
            grid[strengths] = plain(strengths, bench, pair, purpose="probe", count=PROBES)
            write_json(store, list(grid.values()))
    return plain(max(grid, key=lambda strengths: harmonic(grid[strengths])), bench, pair)


def mends(strengths: Strengths) -> dict[str, Callable[[Bench, Pair], dict[str, Any]]]:
    """What is done to two LoRAs at these strengths."""
    null_space = {f"null space, {preset}, {at(strengths)}":
                  partial(merged, strengths, MergeSettings(method="null_space", preset=preset)) for preset in WEIGHTS}
    return null_space | {f"time split, {preset}, {at(strengths)}": partial(split, strengths, preset)
                         for preset in PRESETS}


WAYS: dict[str, Callable[[Bench, Pair], dict[str, Any]]] = {
    **{name: partial(alone, place, strengths[place]) for strengths, names in ALONE.items()
       for place, name in enumerate(names)},
    PLAIN: partial(plain, GUIDES), FILES: recommended, **mends(GUIDES),
    f"null space, style_first, mu 4, {at(GUIDES)}":
        partial(merged, GUIDES, MergeSettings(method="null_space", preset="style_first", mu=4.0)),
    f"TIES, {at(GUIDES)}": partial(merged, GUIDES, MergeSettings(method="ties", rank=16)),
    f"even energies, {at(GUIDES)}": partial(merged, GUIDES, MergeSettings(method="even")),
    f"style-varied character, {at(GUIDES)}": partial(plain, GUIDES, kind="varied"),
    f"LoHa character, {at(GUIDES)}": partial(plain, GUIDES, kind="loha"),
    STACKED[FULL]: partial(plain, FULL), "plain sum, 0.7 + 0.7": partial(plain, (0.7, 0.7)),
    "best of 5 x 5 strengths": refined, **mends(FULL),
}


# -- tables ------------------------------------------------------------------------------------------------------------


def write_tables(bench: Bench, pairs: Sequence[Pair]) -> None:
    """Of all ways that were measured; those of which some pairs are missing are compared over the others."""
    known = {way: [pair for pair in pairs if bench.known(way, pair)] for way in WAYS}
    if known[PLAIN] != list(pairs):
        return
    rows = [_row(bench, known[way], way) for way in WAYS if known[way]]
    ways = [way for way in WAYS if known[way] == list(pairs)]
    lines = [*_targets(bench, pairs, ways, rows), "", __doc__.split("is not made again.")[1].strip(), "",
             f"{VIEWS} views a pair, {STEPS} steps, cfg {bench.sampler.cfg:g}; LoRAs by the family's character preset, "
             f"{SETTINGS['steps']} steps on {PICTURES} drawn pictures. The LoHa has half the rank and as many values. "
             f"The 5 x 5 strengths are {GRID[0]} and {GRID[1]}, chosen on {PROBES} other views."]
    lines += _pairs(bench, pairs, ways)
    write_result("conflict", "A character under a style LoRA, by every way of putting them together", rows,
                 "\n".join(lines))


def _row(bench: Bench, pairs: Sequence[Pair], way: str) -> dict[str, Any]:
    found, base = ([bench.known(name, pair) for pair in pairs] for name in (way, PLAIN))
    means = {name: statistics.mean(row[name] for row in found) for name in ("identity", "style", "prompt")}
    row = {"way": way, "pairs": len(pairs), **{name: round(value, 3) for name, value in means.items()}}
    if any(way in names for names in ALONE.values()):
        return {**row, "harmonic": "", "by the plain sum": "", "identity by the plain sum": ""}
    values, plain_values = ([harmonic(one) for one in rows] for rows in (found, base))
    return {**row, "harmonic": round(statistics.mean(values), 3),
            "by the plain sum": round(statistics.mean(values) - statistics.mean(plain_values), 3),
            "identity by the plain sum": round(means["identity"] - statistics.mean(one["identity"] for one in base), 3)}


def _targets(bench: Bench, pairs: Sequence[Pair], ways: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    best = max((row for row in rows if row["harmonic"] != "" and row["pairs"] == len(pairs)
                and row["identity by the plain sum"] >= -LOST), key=lambda row: row["by the plain sum"])
    gain = best["by the plain sum"]
    lines = [f"Wanted: a way whose harmonic mean is {WANTED} above the plain sum's at the guides' strengths, with at "
             f"most {LOST} less identity. The best is {best['way']}: {gain:+.3f}, identity "
             f"{best['identity by the plain sum']:+.3f}: {'met' if gain >= WANTED else 'not met'}."]
    measured = [strengths for strengths, names in ALONE.items() if {*names, STACKED[strengths]} <= set(ways)]
    for strengths in measured:
        lines += ["", *_correlations(bench, pairs, [strengths])]
    if len(measured) > 1:
        lines += ["", *_correlations(bench, pairs, measured)]
    return lines


TOLD = {"kappa": "kappa", "excess": "its excess over chance", "cosine": "the cosine of the changes",
        "override": "the share of the character's output that the style writes",
        "reverse": "the share of the style's output that the character writes",
        "energy": "the style's squared norm by the character's"}
"""What the files tell of a pair; the last three at its strengths."""


def _correlations(bench: Bench, pairs: Sequence[Pair], several: Sequence[Strengths]) -> Iterator[str]:
    """What the files tell against what was lost, over the pairs at each of these strengths."""
    stacks = [(strengths, pair) for strengths in several for pair in pairs]
    facts = [bench.facts(pair, strengths) for strengths, pair in stacks]
    lost = {what: [bench.known(ALONE[strengths][place], pair)[what] - bench.known(STACKED[strengths], pair)[what]
                   for strengths, pair in stacks] for place, what in enumerate(("identity", "style"))}
    found = {name: {what: spearman([row[name] for row in facts], values) for what, values in lost.items()}
             for name in TOLD}
    kappa, told = found["kappa"]["identity"], [row["kappa"] for row in facts]
    loser = sum((row["override"] > row["reverse"]) == (identity > style)
                for row, identity, style in zip(facts, *lost.values(), strict=True))
    where = " and ".join(map(at, several))
    mean = {what: statistics.mean(values) for what, values in lost.items()}
    met = "met" if kappa >= RANKED else "not met"
    yield (f"Wanted: a Spearman correlation of {RANKED} between kappa and the identity lost. At {where} it is "
           f"{kappa:.2f} over {len(stacks)} stacks: {met}. Kappa is {min(told):.2f} to {max(told):.2f} here. Of "
           f"identity {mean['identity']:.3f} is lost on average, of style {mean['style']:.3f}, each against that LoRA "
           f"alone at its strength; the override shares tell which of the two loses more for {loser} of {len(stacks)}.")
    yield from ("", "| told by the files | identity lost | style lost |", "| --- | --- | --- |")
    for name, row in found.items():
        yield f"| {TOLD[name]} | {row['identity']:.2f} | {row['style']:.2f} |"


def _pairs(bench: Bench, pairs: Sequence[Pair], ways: Sequence[str]) -> list[str]:
    if not {FILES, *ALONE[GUIDES]} <= set(ways):
        return []
    columns = ("character", "style", "kappa", "override", "reverse", "verdict", "identity alone", "identity, plain",
               "style alone", "style, plain", "harmonic, plain", "recommended", "harmonic")
    lines = ["", "## Every pair", "", f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for pair in pairs:
        facts, stacked, advised = bench.facts(pair), bench.known(PLAIN, pair), bench.known(FILES, pair)
        cells = [*pair, *(f"{facts[name]:.2f}" for name in ("kappa", "override", "reverse")), facts["verdict"],
                 f"{bench.known(ALONE[GUIDES][0], pair)['identity']:.2f}", f"{stacked['identity']:.2f}",
                 f"{bench.known(ALONE[GUIDES][1], pair)['style']:.2f}", f"{stacked['style']:.2f}",
                 f"{harmonic(stacked):.2f}", " + ".join(f"{value:.2f}" for value in advised["strengths"]),
                 f"{harmonic(advised):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
