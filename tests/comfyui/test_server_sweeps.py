"""Sweeps in a real ComfyUI server: cells as the host's own nodes make them, Cancel, a kill, failures, any sampler."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.trainer.sweeps.cells import Sweep

from ..helpers.server import Refused
from ..helpers.serving import pixels

RUN = "swept"
SMALL = {"width": 128, "height": 128, "steps": 2, "cfg": 3.0, "seeds": "1, 2", "prompts": "akane, grass\nakane, sunset"}
GRID, SHEET = "grid", "sheet"


@pytest.fixture(scope="module")
def run(server, graph):
    """A run with checkpoints at steps 4, 8 and 12."""
    made = graph(RUN, steps=12)
    made["settings"]["inputs"] |= {"save_every": 4}
    with server.client() as client:
        assert client.run(made).status == "success"
    return RUN


@pytest.fixture
def sweep_graph(server, run):
    """A maker of graphs with one sweep of the run; the server is asked anew, for the run was not there before."""
    info = server.get("/object_info")

    def node(class_type, **inputs):
        required = info[class_type]["input"].get("required", {})
        values = {name: spec[1]["default"] for name, spec in required.items()
                  if len(spec) > 1 and "default" in spec[1]}
        return {"class_type": class_type, "inputs": values | inputs}

    def make(name, kind="StrengthGrid", **widgets):
        return {
            "base": node("LoraBootstrap_LoadSandbox", picture="akane"),
            "run": node("LoraBootstrap_LoadRun", run=run),
            GRID: node(f"LoraBootstrap_{kind}", model=["base", 0], clip=["base", 1], vae=["base", 2], run=["run", 0],
                       name=name, **{**SMALL, **widgets}),
            SHEET: node("PreviewImage", images=[GRID, 1]),
        }

    make.node = node
    return make


def sweep_of(server, name):
    return Sweep.load(server.base / "output" / "sweeps" / name)


def times(sweep):
    return {path.name: path.stat().st_mtime_ns for path in sweep.cells_folder.glob("*.png")}


def picture(path):
    return np.asarray(Image.open(path).convert("RGB"))


def succeeded(result):
    assert result.status == "success", result.error
    return result


def by_hand(make, cell, lora):
    """The graph that a user would build for one cell."""
    facts, (model, clip) = cell.facts, (["base", 0], ["base", 1])
    nodes = {"base": make.node("LoraBootstrap_LoadSandbox", picture="akane")}
    if lora:
        nodes["lora"] = make.node("LoraLoader", model=model, clip=clip, lora_name=facts["lora"],
                                  strength_model=facts["strength"], strength_clip=facts["strength"])
        model, clip = ["lora", 0], ["lora", 1]
    return nodes | {
        "yes": make.node("CLIPTextEncode", clip=clip, text=facts["prompt"]),
        "no": make.node("CLIPTextEncode", clip=clip, text=""),
        "empty": make.node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "sample": make.node("KSampler", model=model, positive=["yes", 0], negative=["no", 0],
                            latent_image=["empty", 0], seed=facts["seed"], steps=2, cfg=3.0, sampler_name="euler",
                            scheduler="normal", denoise=1.0),
        "decode": make.node("VAEDecode", samples=["sample", 0], vae=["base", 2]),
        "save": make.node("SaveImage", images=["decode", 0], filename_prefix="hand"),
    }


def test_a_cell_is_to_the_pixel_what_load_lora_and_ksampler_make(server, tab, sweep_graph):
    succeeded(tab.run(sweep_graph("pixels", strengths="0.5, 1")))
    sweep = sweep_of(server, "pixels")
    assert len(sweep) == 2 * 2 * 2 and set(sweep.states().values()) == {"done"}
    differ = set()
    for cell in (sweep.cells[0], sweep.cells[-1], sweep.references[0]):
        drawn = picture(sweep.picture(cell))
        differ.add(drawn.tobytes())
        hand = succeeded(tab.run(by_hand(sweep_graph, cell, bool(cell.facts["lora"])))).images("save")[0]
        np.testing.assert_array_equal(drawn, pixels(server, hand))
        held = json.loads(Image.open(sweep.picture(cell)).text["prompt"])
        save = next(id for id, node in held.items() if node["class_type"] == "SaveImage")
        np.testing.assert_array_equal(drawn, pixels(server, succeeded(tab.run(held)).images(save)[0]))
    assert len(differ) == 3


def test_load_lora_before_a_sweep_is_swept_to_the_pixel_and_once(server, tab, sweep_graph):
    files = [f"{RUN}/{RUN}-step0000{step}.safetensors" for step in ("04", "08")]
    prompt = sweep_graph("through", strengths="0.5, 1", seeds="1", prompts="akane, grass")
    del prompt["run"], prompt[GRID]["inputs"]["run"]
    model, clip = ["base", 0], ["base", 1]
    for id, file, strength in (("upper", files[0], 0.5), ("lower", files[1], 0.9)):
        prompt[id] = sweep_graph.node("LoraLoader", model=model, clip=clip, lora_name=file, strength_model=strength,
                                      strength_clip=strength)
        model, clip = [id, 0], [id, 1]
    prompt[GRID]["inputs"] |= {"model": model, "clip": clip}
    result = succeeded(tab.run(prompt))
    sweep = sweep_of(server, "through")
    assert [cell.facts["lora"] for cell in sweep.cells] == [files[1]] * 2
    told = tab.of_type("lora_bootstrap.sweep")[-1]
    assert (told["node"], told["done"], told["total"]) == (GRID, 3, 3) and len(result.images(SHEET)) == 1
    hand = by_hand(sweep_graph, sweep.cells[0], True)
    hand["upper"] = prompt["upper"]
    hand["lora"]["inputs"] |= {"model": ["upper", 0], "clip": ["upper", 1]}
    np.testing.assert_array_equal(picture(sweep.picture(sweep.cells[0])),
                                  pixels(server, succeeded(tab.run(hand)).images("save")[0]))
    prompt["lower"]["inputs"]["strength_model"] = 0.1
    before = times(sweep)
    succeeded(tab.run(prompt))
    assert times(sweep) == before
    assert succeeded(tab.run(prompt)).executed == (), "all is there, and nothing in the graph has changed"
    only = sweep_graph("through the model", strengths="0.5", seeds="1", prompts="akane, grass", without=False)
    del only["run"], only[GRID]["inputs"]["run"]
    only["lower"] = sweep_graph.node("LoraLoaderModelOnly", model=["base", 0], lora_name=files[1], strength_model=1.0)
    only[GRID]["inputs"]["model"] = ["lower", 0]
    succeeded(tab.run(only))
    sweep = sweep_of(server, "through the model")
    hand = by_hand(sweep_graph, sweep.cells[0], True)
    hand["lora"] = sweep_graph.node("LoraLoaderModelOnly", model=["base", 0], lora_name=files[1], strength_model=0.5)
    hand["yes"]["inputs"]["clip"] = hand["no"]["inputs"]["clip"] = ["base", 1]
    np.testing.assert_array_equal(picture(sweep.picture(sweep.cells[0])),
                                  pixels(server, succeeded(tab.run(hand)).images("save")[0]))


def test_cancel_keeps_every_cell_and_the_next_run_draws_exactly_the_missing(server, tab, sweep_graph):
    prompt = sweep_graph("cancelled", strengths="0.5-1 (+0.1)", steps=6)
    queued = tab.queue(prompt)
    told = tab.wait_for(lambda m: m.type == "lora_bootstrap.sweep" and m.data["name"] == "cancelled"
                        and m.data["done"] >= 3, "third cell").data
    assert told["node"] == GRID and told["total"] == 6 * 4 + 4
    tab.interrupt()
    assert tab.wait(queued).status == "interrupted"
    sweep = sweep_of(server, "cancelled")
    before = times(sweep)
    assert 3 <= len(before) < 28 and sweep.sheet.is_file()
    run = succeeded(tab.run(prompt))
    assert run.outputs[GRID]["lora_bootstrap"][0] == {"sweep": "cancelled", "done": 28, "failed": 0, "total": 28}
    after = times(sweep)
    assert len(after) == 28 and {name: after[name] for name in before} == before
    assert succeeded(tab.run(prompt)).executed == (), "all is there, and nothing in the graph has changed"
    sweep.picture(sweep.cells[5]).unlink()
    assert GRID in succeeded(tab.run(prompt)).executed and len(times(sweep)) == 28


def test_a_kill_loses_nothing_that_was_drawn(server, sweep_graph):
    prompt = sweep_graph("killed", kind="CheckpointSweep", strengths="1", steps=6)
    with server.client() as first:
        first.queue(prompt)
        first.wait_for(lambda m: m.type == "lora_bootstrap.sweep" and m.data["name"] == "killed"
                       and m.data["done"] >= 4, "fourth cell")
    server.restart()
    sweep = sweep_of(server, "killed")
    states = sweep.states()  # an image without its record was still being written, and is drawn again
    before = {name: time for name, time in times(sweep).items() if states[name.removesuffix(".png")] == "done"}
    assert 4 <= len(before) < 16
    with server.client() as again:
        succeeded(again.run(prompt))
    after = times(sweep)
    assert len(after) == 16 and {name: after[name] for name in before} == before
    assert [choice.label for choice in sweep.axis("checkpoint").choices] == [
        "step 4", "step 8", "step 12"]


def test_a_failing_cell_is_marked_and_the_rest_goes_on(server, tab, sweep_graph):
    checkpoints = server.base / "models" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    (checkpoints / "broken.safetensors").write_bytes(b"no checkpoint")
    prompt = sweep_graph("failing", strengths="1", bases="broken", seeds="1", columns="base", rows="prompt")
    run = succeeded(tab.run(prompt))
    assert run.outputs[GRID]["lora_bootstrap"][0] == {"sweep": "failing", "done": 4, "failed": 4, "total": 8}
    sweep = sweep_of(server, "failing")
    problems = [sweep.problem(cell) for cell in sweep.everything]
    assert sum(map(bool, problems)) == 4 and sweep.sheet.is_file()


def test_strengths_in_one_batch_are_the_same_pictures(server, tab, sweep_graph):
    for name, draw in (("one by one", "one by one"), ("batched", "strengths in one batch")):
        succeeded(tab.run(sweep_graph(name, strengths="0.4, 0.7, 1", draw=draw, steps=8)))
    single, batched = sweep_of(server, "one by one"), sweep_of(server, "batched")
    pairs = [(picture(single.picture(cell)), picture(batched.picture(cell))) for cell in single.cells]
    assert [cell.key for cell in single.cells] == [cell.key for cell in batched.cells]
    assert max(abs(a.astype(int) - b).max() for a, b in pairs) <= 2
    assert len({a.tobytes() for a, _ in pairs}) == len(pairs)
    tab.run(sweep_graph("stochastic", strengths="0.4, 1", seeds="1", sampler_name="euler_ancestral",
                        draw="strengths in one batch"))
    assert any("draws new noise at each step" in text["text"] for text in tab.of_type("progress_text"))


def own_sampler(make, name, **widgets):
    """A graph of the user's own, with a sampler that no sweep node knows."""
    return {
        "base": make.node("LoraBootstrap_LoadSandbox", picture="akane"),
        "run": make.node("LoraBootstrap_LoadRun", run=RUN),
        "values": make.node("LoraBootstrap_SweepValues", run=["run", 0], name=name, **{
            "checkpoints": "4, 12", "strengths": "1", "prompts": SMALL["prompts"], "seeds": "7", **widgets}),
        "lora": make.node("LoraLoader", model=["base", 0], clip=["base", 1], lora_name=["values", 1],
                          strength_model=["values", 2], strength_clip=["values", 2]),
        "yes": make.node("CLIPTextEncode", clip=["lora", 1], text=["values", 3]),
        "guider": make.node("BasicGuider", model=["lora", 0], conditioning=["yes", 0]),
        "noise": make.node("RandomNoise", noise_seed=["values", 4]),
        "sigmas": make.node("BasicScheduler", model=["lora", 0], scheduler="normal", steps=3, denoise=1.0),
        "select": make.node("KSamplerSelect", sampler_name="euler"),
        "empty": make.node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "sample": make.node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["select", 0],
                            sigmas=["sigmas", 0], latent_image=["empty", 0]),
        "decode": make.node("VAEDecode", samples=["sample", 0], vae=["base", 2]),
        GRID: make.node("LoraBootstrap_ComposeGrid", sweep=["values", 0], images=["decode", 0]),
        SHEET: make.node("PreviewImage", images=[GRID, 1]),
    }


def test_any_sampler_draws_cell_by_cell_and_goes_on_after_cancel(server, tab, sweep_graph):
    prompt = own_sampler(sweep_graph, "own")
    queued = tab.queue(prompt)
    tab.wait_for(lambda m: m.type == "lora_bootstrap.sweep" and m.data["name"] == "own" and m.data["done"] >= 2,
                 "second cell")
    tab.interrupt()
    status, sweep = tab.wait(queued).status, sweep_of(server, "own")
    before = times(sweep)
    assert len(before) >= 2 and status in ("interrupted", "success")
    run = succeeded(tab.run(prompt))
    after = times(sweep)
    assert len(after) == 6 and {name: after[name] for name in before} == before
    assert len(run.images(SHEET)) == 1 and (sweep.folder / "grid.html").is_file()
    assert set(sweep.states().values()) == {"done"}
    cell = sweep.cells[-1]
    held = json.loads(Image.open(sweep.picture(cell)).text["prompt"])
    save = next(id for id, node in held.items() if node["class_type"] == "SaveImage")
    np.testing.assert_array_equal(picture(sweep.picture(cell)),
                                  pixels(server, succeeded(tab.run(held)).images(save)[0]))


def test_values_alone_are_lists_for_the_hosts_own_nodes(server, tab, sweep_graph):
    prompt = own_sampler(sweep_graph, "lists", without=False)
    del prompt[GRID]
    prompt[SHEET]["inputs"]["images"] = ["decode", 0]
    assert len(succeeded(tab.run(prompt)).images(SHEET)) == 4


def test_a_sweep_is_scored_and_the_pick_is_taken(server, tab, sweep_graph):
    prompt = sweep_graph("scored", kind="CheckpointSweep", strengths="0.8, 1")
    prompt |= {
        "data": sweep_graph.node("LoraBootstrap_LoadDataset", folder="sandbox/dataset/akane"),
        "score": sweep_graph.node("LoraBootstrap_ScoreSweep", sweep=[GRID, 0], dataset=["data", 0]),
        "pick": sweep_graph.node("LoraBootstrap_PickCheckpoint", run=["run", 0], which="step", step=["score", 1],
                                 strength=["score", 2]),
        "table": sweep_graph.node("PreviewImage", images=["score", 4]),
        "path": sweep_graph.node("PreviewAny", source=["pick", 0]),
    }
    run = succeeded(tab.run(prompt))
    scores = json.loads((sweep_of(server, "scored").folder / "scores.json").read_text())
    best = scores["rows"][scores["recommended"]]
    assert len(scores["rows"]) == 6 and scores["eye"] == "sandbox judge" and run.images("table")
    assert all(row["likeness"] is not None and row["burn"] is not None for row in scores["rows"])
    (path,) = run.outputs["path"]["text"]
    assert path.endswith(best["lora"].rpartition("/")[2])


def test_mistakes_are_red_nodes_before_anything_runs(server, tab, sweep_graph):
    for widgets, words in (({"strengths": "strong"}, "is not a number"), ({"files": "nobody*"}, "there is no LoRA"),
                           ({"bases": "nothing"}, "there is no checkpoint"), ({"seeds": "-1"}, "must be 0 or more")):
        with pytest.raises(Refused, match=words):
            tab.queue(sweep_graph("mistaken", **widgets))
    run = tab.run(sweep_graph("mistaken", prompts=""))
    assert run.status == "error" and "prompts is empty" in run.error


def resident_mb(server):
    text = (server.process and open(f"/proc/{server.process.pid}/status").read()) or ""
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS"))


def test_many_cells_keep_the_memory_flat(server, tab, sweep_graph):
    side, early_cells, cells = 320, 40, 140
    prompt = sweep_graph("many", strengths="0.01-1 [14]", seeds="1-5", steps=1, cfg=1.0, without=False,
                         width=side, height=side)
    queued = tab.queue(prompt)

    def at(done):
        tab.wait_for(lambda m: m.type == "lora_bootstrap.sweep" and m.data["name"] == "many"
                     and m.data["done"] >= done, f"{done} cells", 400)
        return resident_mb(server)

    early = at(early_cells)
    late = at(cells)
    assert tab.wait(queued, 400).status == "success"
    assert len(times(sweep_of(server, "many"))) == cells
    images = (cells - early_cells) * side * side * 3 / 2**20  # of all images between, in bytes
    assert late - early < 0.8 * images, f"{early:.0f} MB after {early_cells} cells, {late:.0f} MB after {cells}"
