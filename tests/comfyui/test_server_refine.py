"""Strengths of a pair in a real ComfyUI server: cells as chained loaders draw them, Cancel, the best pair."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.trainer.sweeps.cells import STACK, STRENGTH, Sweep

from ..helpers.server import Refused
from ..helpers.serving import pixels

HERO, INK = "refine-hero", "refine-ink"
SMALL = {"width": 128, "height": 128, "steps": 4, "cfg": 3.0, "seeds": "1, 2", "prompts": "akane, grass",
         "character_strengths": "0.6, 1", "style_strengths": "0.4, 0.8"}
CELLS = (4 + 3) * 2
REFINE = "refine"


@pytest.fixture(scope="module")
def loras(server, graph):
    """A character and a style that visibly change the sandbox, as the host's loaders list them."""
    with server.client() as client:
        for seed, (name, kind, trigger) in enumerate(((HERO, "character", "akane"), (INK, "style", "inky"))):
            succeeded(client.run(graph(name, steps=16, seed=seed, learning_rate=3e-3, kind=kind, trigger=trigger)))
    return [f"{name}/{name}.safetensors" for name in (HERO, INK)]


@pytest.fixture
def make(graph, loras):
    """A maker of graphs that refine the pair, as our own stack node gives it."""
    node = graph.node

    def refining(name, **widgets):
        return {
            "base": node("LoraBootstrap_LoadSandbox", picture="akane"),
            "data": node("LoraBootstrap_LoadDataset", folder="sandbox/dataset/akane"),
            "stack": node("LoraBootstrap_LoraStack", entries="\n".join(f"{lora} : 0.7" for lora in loras)),
            REFINE: node("LoraBootstrap_RefineStrengths", model=["base", 0], clip=["base", 1], vae=["base", 2],
                         LORA_STACK=["stack", 0], dataset=["data", 0], name=name, **{**SMALL, **widgets}),
            "sheet": node("PreviewImage", images=[REFINE, 2]), "heat": node("PreviewImage", images=[REFINE, 3]),
            "report": node("PreviewAny", source=[REFINE, 4]),
        }

    refining.node = node
    return refining


def succeeded(result):
    assert result.status == "success", result.error
    return result


def sweep_of(server, name):
    return Sweep.load(server.base / "output" / "sweeps" / name)


def times(sweep):
    return {path.name: path.stat().st_mtime_ns for path in sweep.cells_folder.glob("*.png")}


def by_hand(make, cell):
    """The graph that a user would build for a cell: a loader for each of its LoRAs, the style's first."""
    facts, nodes = cell.facts, {"base": make.node("LoraBootstrap_LoadSandbox", picture="akane")}
    loras = [(name, strength) for name, _, strength, _ in facts["stack"]]
    model, clip = ["base", 0], ["base", 1]
    for at, (name, strength) in enumerate([*loras, *([(facts["lora"], facts["strength"])] * bool(facts["lora"]))]):
        nodes[f"lora{at}"] = make.node("LoraLoader", model=model, clip=clip, lora_name=name, strength_model=strength,
                                       strength_clip=strength)
        model, clip = [f"lora{at}", 0], [f"lora{at}", 1]
    return nodes | {
        "yes": make.node("CLIPTextEncode", clip=clip, text=facts["prompt"]),
        "no": make.node("CLIPTextEncode", clip=clip, text=""),
        "empty": make.node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "sample": make.node("KSampler", model=model, positive=["yes", 0], negative=["no", 0],
                            latent_image=["empty", 0], seed=facts["seed"], steps=4, cfg=3.0, sampler_name="euler",
                            scheduler="normal", denoise=1.0),
        "decode": make.node("VAEDecode", samples=["sample", 0], vae=["base", 2]),
        "save": make.node("SaveImage", images=["decode", 0], filename_prefix="refined"),
    }


def test_cancel_keeps_every_cell_and_the_next_run_scores_all(server, tab, make, loras):
    prompt = make("unrefined")
    queued = tab.queue(prompt)
    told = tab.wait_for(lambda m: m.type == "lora_bootstrap.sweep" and m.data["name"] == "unrefined"
                        and m.data["done"] >= 3, "third cell").data
    assert told["node"] == REFINE and told["total"] == CELLS
    tab.interrupt()
    assert tab.wait(queued).status == "interrupted"
    before = times(sweep_of(server, "unrefined"))
    assert 3 <= len(before) < CELLS
    run = succeeded(tab.run(prompt))
    sweep = sweep_of(server, "unrefined")
    after = times(sweep)
    assert len(after) == CELLS and {name: after[name] for name in before} == before
    counts = {"done": CELLS, "failed": 0, "total": CELLS}
    assert run.outputs[REFINE]["lora_bootstrap"][0] == {"sweep": "unrefined", **counts}
    assert len(run.images("sheet")) == 2 and len(run.images("heat")) == 4
    (report,) = run.outputs["report"]["text"]
    found = json.loads((sweep.folder / "strengths.json").read_text())
    assert report.startswith("Take refine-hero ") and found["eye"] == "sandbox judge" and len(found["pairs"]) == 4
    assert all(0 <= pair[name] <= 1 for pair in found["pairs"] for name in ("identity", "style", "prompt", "harmonic"))
    assert succeeded(tab.run(prompt)).executed == (), "all is there, and nothing in the graph has changed"


def test_a_cell_is_to_the_pixel_what_chained_loaders_draw(server, tab, make):
    succeeded(tab.run(make("refined")))
    sweep = sweep_of(server, "refined")
    assert [choice.label for choice in sweep.axis(STRENGTH).choices][-1] == "no refine-hero"
    for places in ({"stack": 1, "strength": 0}, {"stack": 2, "strength": 1}, {"stack": 1, "strength": 2},
                   {"stack": 2, "strength": 2}):
        cell = sweep.cell(**places, seed=1)
        hand = succeeded(tab.run(by_hand(make, cell))).images("save")[0]
        drawn = np.asarray(Image.open(sweep.picture(cell)).convert("RGB"))
        np.testing.assert_array_equal(drawn, pixels(server, hand))
        held = json.loads(Image.open(sweep.picture(cell)).text["prompt"])
        save = next(id for id, node in held.items() if node["class_type"] == "SaveImage")
        np.testing.assert_array_equal(drawn, pixels(server, succeeded(tab.run(held)).images(save)[0]))
    assert len({path.read_bytes() for path in sweep.cells_folder.glob("*.png")}) == CELLS


def test_the_stack_goes_on_at_the_best_pair_and_is_remembered(server, tab, make, loras):
    prompt = make("refined") | {
        "apply": make.node("LoraBootstrap_ApplyLoraStack", model=["base", 0], clip=["base", 1],
                           LORA_STACK=[REFINE, 0]),
        "taken": make.node("PreviewAny", source=[REFINE, 0]), "model": make.node("PreviewAny", source=["apply", 0]),
        "again": make.node("LoraBootstrap_LoraStack", entries="\n".join(f"{lora} : 0.5" for lora in loras)),
        "shown": make.node("PreviewAny", source=["again", 0])}
    run = succeeded(tab.run(prompt))
    found = json.loads((sweep_of(server, "refined").folder / "strengths.json").read_text())
    best = found["pairs"][found["best"]]
    (taken,) = run.outputs["taken"]["text"]
    assert str(best["character"]) in taken and str(best["style_strength"]) in taken
    values = json.loads((server.base / "output" / "lora_strengths.json").read_text())
    ((base, pairs),) = values["bases"].items()
    assert base == sweep_of(server, "refined").cells[0].facts["base"] and len(pairs) == 1
    line = f"measured on the sandbox: {HERO} {best['character']:g}, {INK} {best['style_strength']:g} (harmonic "
    succeeded(tab.run({"stack": make.node("LoraBootstrap_LoraStack", entries="\n".join(
        f"{lora} : 0.4" for lora in loras)), "shown": make.node("PreviewAny", source=["stack", 0])}))
    assert any(line in text["text"] for text in tab.of_type("progress_text"))


def test_the_viewer_has_both_axes(server, tab, make):
    succeeded(tab.run(make("refined")))
    told = server.get("/lora_bootstrap/sweep", name="refined")
    axes = {axis["name"]: axis["choices"] for axis in told["axes"]}
    assert axes[STACK] == [f"{INK} 0.4", f"{INK} 0.8", f"no {INK}"] and len(told["cells"]) == CELLS
    assert axes[STRENGTH] == [f"{HERO} 0.6", f"{HERO} 1", f"no {HERO}"]
    assert all(cell["state"] == "done" and None not in cell["at"] for cell in told["cells"])


def test_mistakes_are_red_nodes_or_one_line(server, tab, make, loras):
    for widgets, words in (({"style_strengths": "0"}, "must all be above 0"), ({"seeds": "x"}, "is not a number")):
        with pytest.raises(Refused) as raised:
            tab.queue(make("mistaken", **widgets))
        assert words in raised.value.text
    prompt = make("mistaken")
    prompt["stack"]["inputs"]["entries"] = loras[0]
    run = tab.run(prompt)
    assert run.status == "error" and "a pair of strengths needs two LoRAs" in run.error
